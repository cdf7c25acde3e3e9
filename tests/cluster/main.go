// The parts of a Kubernetes control plane in one program, so that what they share is compiled and linked once.
//
//	control-plane etcd|kube-apiserver|kube-controller-manager|kube-scheduler FLAGS   as the program of that name
//	control-plane fakelet FLAGS                                                      nodes whose pods only seem to run
//	control-plane certificate FOLDER                                                 tls.crt and tls.key for 127.0.0.1
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/client-go/util/cert"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"

	"tamv/tests/cluster/fakelet"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "which part? etcd, kube-apiserver, kube-controller-manager, kube-scheduler, fakelet, certificate")
		os.Exit(2)
	}
	os.Args = os.Args[1:] // each part reads its flags as if it were a program of its own
	if os.Args[0] == "etcd" {
		etcdmain.Main(os.Args)
		return
	}
	part, err := command(os.Args[0])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	os.Exit(cli.Run(part))
}

func command(name string) (*cobra.Command, error) {
	switch name {
	case "kube-apiserver":
		return apiserver.NewAPIServerCommand(), nil
	case "kube-controller-manager":
		return controllers.NewControllerManagerCommand(), nil
	case "kube-scheduler":
		return scheduler.NewSchedulerCommand(), nil
	case "fakelet":
		return fakelet.Command(), nil
	case "certificate":
		return &cobra.Command{
			Use:  "certificate FOLDER",
			Args: cobra.ExactArgs(1),
			RunE: func(_ *cobra.Command, folder []string) error { return certificate(folder[0]) },
		}, nil
	}
	return nil, fmt.Errorf("no part is named %q", name)
}

// certificate signs itself; its key signs the tokens of service accounts too.
func certificate(folder string) error {
	chain, key, err := cert.GenerateSelfSignedCertKey("127.0.0.1", nil, nil)
	if err != nil {
		return err
	}
	if err := cert.WriteCert(filepath.Join(folder, "tls.crt"), chain); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, "tls.key"), key, 0o600)
}
