// Package fakelet stands in for the kubelets of a cluster: its nodes are ready and every pod that is bound to one of them
// is said to run at once, but no container is ever started.
//
// An image tagged `broken` cannot be pulled. A pod that is not to be restarted succeeds. A container's log is one line.
// A program that is executed in a container is executed on this machine, with nothing in its environment but PATH.
package fakelet

import (
	"context"
	"fmt"
	"net/http"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

type options struct {
	kubeconfig, certificate, key string
	port                         int32
	nodes                        int
}

// Command runs until it is interrupted. Its https://127.0.0.1:PORT/healthz answers 200 once pods can be run.
func Command() *cobra.Command {
	var o options
	command := &cobra.Command{
		Use:  "fakelet",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return run(o) },
	}
	flags := command.Flags()
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "the cluster, and an account that may do everything in it")
	flags.StringVar(&o.certificate, "tls-cert-file", "", "the certificate that the API server is shown")
	flags.StringVar(&o.key, "tls-private-key-file", "", "its key")
	flags.Int32Var(&o.port, "port", 10250, "where the API server asks for logs and programs")
	flags.IntVar(&o.nodes, "nodes", 3, "how many nodes there are")
	return command
}

func run(o options) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	config, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	for number := range o.nodes {
		if err := keepNode(ctx, client, fmt.Sprintf("node-%d", number+1), o.port); err != nil {
			return err
		}
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	if err := playPods(ctx, client, factory.Core().V1().Pods().Informer()); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	server := &http.Server{Addr: fmt.Sprintf("127.0.0.1:%d", o.port), Handler: handler(client)}
	context.AfterFunc(ctx, func() { server.Close() })
	if err := server.ListenAndServeTLS(o.certificate, o.key); err != http.ErrServerClosed {
		return err
	}
	return nil
}
