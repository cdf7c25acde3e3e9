package fakelet

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
)

var addresses atomic.Uint32

// playPods takes every pod of a node one step on whenever it is seen: to run, to its end, or away when it is deleted.
func playPods(ctx context.Context, client kubernetes.Interface, informer cache.SharedIndexInformer) error {
	seen := func(object any) {
		pod := object.(*v1.Pod)
		// Whoever has changed the pod meanwhile makes it be seen again.
		if err := step(ctx, client, pod); err != nil && !errors.IsConflict(err) && !errors.IsNotFound(err) {
			runtime.HandleError(fmt.Errorf("pod %s/%s: %w", pod.Namespace, pod.Name, err))
		}
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    seen,
		UpdateFunc: func(_, object any) { seen(object) },
	})
	return err
}

func step(ctx context.Context, client kubernetes.Interface, pod *v1.Pod) error {
	pods := client.CoreV1().Pods(pod.Namespace)
	switch {
	case pod.Spec.NodeName == "":
		return nil
	case pod.DeletionTimestamp != nil:
		now := metav1.NewDeleteOptions(0)
		now.Preconditions = metav1.NewUIDPreconditions(string(pod.UID))
		return pods.Delete(ctx, pod.Name, *now)
	}
	next := pod.DeepCopy()
	switch {
	case pod.Status.StartTime == nil:
		start(next)
	case pod.Status.Phase == v1.PodRunning && pod.Spec.RestartPolicy != v1.RestartPolicyAlways:
		succeed(next)
	default:
		return nil
	}
	_, err := pods.UpdateStatus(ctx, next, metav1.UpdateOptions{})
	return err
}

// start is a node's first word about a pod: its containers run, but for those whose image cannot be pulled.
func start(pod *v1.Pod) {
	now := metav1.Now()
	number := addresses.Add(1)
	address := fmt.Sprintf("10.244.%d.%d", number/250%250, number%250+2)
	status := &pod.Status
	status.StartTime, status.HostIP, status.PodIP = &now, "127.0.0.1", address
	status.PodIPs = []v1.PodIP{{IP: address}}
	status.Phase = v1.PodRunning
	for _, container := range pod.Spec.Containers {
		found := v1.ContainerStatus{Name: container.Name, Image: container.Image, Ready: true, Started: new(true)}
		found.State.Running = &v1.ContainerStateRunning{StartedAt: now}
		if strings.HasSuffix(container.Image, ":broken") {
			found.Ready, found.Started = false, new(false)
			found.State = v1.ContainerState{Waiting: &v1.ContainerStateWaiting{
				Reason: "ImagePullBackOff", Message: fmt.Sprintf("Back-off pulling image %q", container.Image),
			}}
			status.Phase = v1.PodPending
		}
		status.ContainerStatuses = append(status.ContainerStatuses, found)
	}
	settle(status, status.Phase == v1.PodRunning, "ContainersNotReady")
}

// succeed ends every container with the exit code 0.
func succeed(pod *v1.Pod) {
	pod.Status.Phase = v1.PodSucceeded
	for index := range pod.Status.ContainerStatuses {
		found := &pod.Status.ContainerStatuses[index]
		ended := &v1.ContainerStateTerminated{Reason: "Completed", StartedAt: *pod.Status.StartTime, FinishedAt: metav1.Now()}
		found.Ready, found.Started, found.State = false, new(false), v1.ContainerState{Terminated: ended}
	}
	settle(&pod.Status, false, "PodCompleted")
}

func settle(status *v1.PodStatus, ready bool, unready string) {
	podutil.UpdatePodCondition(status, &v1.PodCondition{Type: v1.PodInitialized, Status: v1.ConditionTrue})
	for _, kind := range []v1.PodConditionType{v1.ContainersReady, v1.PodReady} {
		condition := &v1.PodCondition{Type: kind, Status: v1.ConditionTrue}
		if !ready {
			condition.Status, condition.Reason = v1.ConditionFalse, unready
		}
		podutil.UpdatePodCondition(status, condition)
	}
}
