package namespaces

import (
	"runsc-lite/sentry/ipc/mqueue"
	"runsc-lite/sentry/ipc/msg"
	"runsc-lite/sentry/ipc/sem"
	"runsc-lite/sentry/ipc/shm"
)

// Objects are System V's, and POSIX message queues, of one namespace.
type Objects struct {
	Shm    *shm.Manager
	Sem    *sem.Manager
	Msg    *msg.Manager
	Queues *mqueue.FS
}

// IPC is an ipc namespace (ipc_namespaces(7)).
type IPC struct {
	Namespace
	Objects
}

func (i *IPC) close() {
	i.Shm.Close()
	i.Sem.Close()
	i.Msg.Close()
	i.Queues.Close()
}
