package fakelet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

const streamSeconds = 30 * time.Second

// handler answers what the API server asks of a kubelet, at the paths that a kubelet has.
func handler(client kubernetes.Interface) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(answer http.ResponseWriter, request *http.Request) {
		if err := canRunPods(request.Context(), client); err != nil {
			http.Error(answer, err.Error(), http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", containerLog)
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", execute)
	return mux
}

// canRunPods says what is missing: the controllers take a moment to trust a new node, and to make the first account.
func canRunPods(ctx context.Context, client kubernetes.Interface) error {
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, node := range nodes.Items {
		if len(node.Spec.Taints) > 0 {
			return fmt.Errorf("%s has the taint %s", node.Name, node.Spec.Taints[0].Key)
		}
	}
	_, err = client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
	return err
}

func containerLog(answer http.ResponseWriter, request *http.Request) {
	pod, container := request.PathValue("pod"), request.PathValue("container")
	if request.FormValue("previous") == "true" {
		told := fmt.Sprintf("previous terminated container %q in pod %q not found", container, pod)
		http.Error(answer, told, http.StatusBadRequest)
		return
	}
	fmt.Fprintf(answer, "%s of %s is said to run\n", container, pod)
}

func execute(answer http.ResponseWriter, request *http.Request) {
	streams, err := remotecommand.NewOptions(request)
	if err != nil {
		http.Error(answer, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeExec(
		answer, request, machine{}, request.PathValue("pod"), "", request.PathValue("container"), request.Form["command"],
		streams, streamSeconds, streamSeconds, remotecommand.SupportedStreamingProtocols,
	)
}

// machine executes programs where it is itself.
type machine struct{}

func (machine) ExecInContainer(
	ctx context.Context, _, _, _ string, words []string, in io.Reader, out, complaints io.WriteCloser, _ bool,
	_ <-chan remotecommand.TerminalSize, _ time.Duration,
) error {
	program := exec.CommandContext(ctx, words[0], words[1:]...)
	program.Env = []string{"PATH=" + os.Getenv("PATH")}
	program.Stdin, program.Stdout, program.Stderr = in, out, complaints
	err := program.Run()
	if ended := new(exec.ExitError); errors.As(err, &ended) {
		return utilexec.CodeExitError{Err: err, Code: ended.ExitCode()}
	}
	return err
}
