{{- define "bot.name" -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- end }}

{{- define "bot.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "bot.labels" -}}
{{ include "bot.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "bot.account" -}}
{{- .Values.serviceAccount.name | default (include "bot.name" .) -}}
{{- end }}

{{- define "bot.image" -}}
{{- .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion -}}
{{- end }}

{{- /* How the team's folder comes into the pods; "" for the shipped example. */}}
{{- define "bot.team" -}}
{{- $ways := list -}}
{{- if .Values.team.files }}{{ $ways = append $ways "files" }}{{ end -}}
{{- if .Values.team.existingConfigMap }}{{ $ways = append $ways "existingConfigMap" }}{{ end -}}
{{- if .Values.team.image }}{{ $ways = append $ways "image" }}{{ end -}}
{{- if .Values.team.git.repository }}{{ $ways = append $ways "git" }}{{ end -}}
{{- if gt (len $ways) 1 }}{{ fail (printf "team: choose one of %s" (join ", " $ways)) }}{{ end -}}
{{- first $ways -}}
{{- end }}

{{- define "bot.restricted" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}
