{{- define "pod" -}}
metadata:
  labels: {app: {{ .root.Release.Name }}, track: {{ .track }}}
spec:
  containers:
    - name: {{ .root.Release.Name }}
      image: "{{ .root.Values.image.repository }}:{{ .tag }}"
      ports:
        - {name: http, containerPort: 3000, protocol: TCP}
      {{- with .root.Values.env }}
      env:
        {{- range $name, $value := . }}
        - {name: {{ $name }}, value: {{ $value | quote }}}
        {{- end }}
      {{- end }}
      {{- with .root.Values.secrets }}
      envFrom:
        - secretRef: {name: {{ . }}}
      {{- end }}
      readinessProbe:
        httpGet: {path: /health, port: http}
      resources:
        {{- toYaml .root.Values.resources | nindent 8 }}
  {{- with .root.Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .root.Values.gpu }}
  tolerations:
    - {key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}
  {{- end }}
{{- end }}
