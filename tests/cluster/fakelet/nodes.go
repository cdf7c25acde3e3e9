package fakelet

import (
	"context"
	"time"

	coordination "k8s.io/api/coordination/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/component-helpers/apimachinery/lease"
	"k8s.io/utils/clock"
)

// The rhythm of a kubelet: https://kubernetes.io/docs/concepts/architecture/leases/#node-heart-beats
const (
	leaseSeconds = 40
	renewEvery   = 10 * time.Second
)

// keepNode registers a node that is ready, and renews its lease until the context ends.
func keepNode(ctx context.Context, client kubernetes.Interface, name string, port int32) error {
	labels := map[string]string{v1.LabelHostname: name, v1.LabelOSStable: "linux", v1.LabelArchStable: "amd64"}
	wanted := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Status: nodeStatus(port)}
	node, err := client.CoreV1().Nodes().Create(ctx, wanted, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	owned := func(lease *coordination.Lease) error {
		lease.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: name, UID: node.UID}}
		return nil
	}
	go lease.NewController(
		clock.RealClock{}, client, name, leaseSeconds, nil, renewEvery, name, v1.NamespaceNodeLease, owned,
	).Run(ctx)
	return nil
}

func nodeStatus(port int32) v1.NodeStatus {
	capacity := v1.ResourceList{
		v1.ResourceCPU:    resource.MustParse("16"),
		v1.ResourceMemory: resource.MustParse("64Gi"),
		v1.ResourcePods:   resource.MustParse("110"),
	}
	now := metav1.Now()
	return v1.NodeStatus{
		Capacity:        capacity,
		Allocatable:     capacity,
		Addresses:       []v1.NodeAddress{{Type: v1.NodeInternalIP, Address: "127.0.0.1"}},
		DaemonEndpoints: v1.NodeDaemonEndpoints{KubeletEndpoint: v1.DaemonEndpoint{Port: port}},
		NodeInfo:        v1.NodeSystemInfo{KubeletVersion: "fakelet", OperatingSystem: "linux", Architecture: "amd64"},
		Conditions: []v1.NodeCondition{{
			Type: v1.NodeReady, Status: v1.ConditionTrue, Reason: "KubeletReady", LastHeartbeatTime: now, LastTransitionTime: now,
		}},
	}
}
