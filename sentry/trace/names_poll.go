package trace

import "golang.org/x/sys/unix"

var pollBits = set{"POLL???", []flag{
	{unix.POLLIN, "POLLIN"},
	{unix.POLLPRI, "POLLPRI"},
	{unix.POLLOUT, "POLLOUT"},
	{0x40, "POLLRDNORM"},
	{0x100, "POLLWRNORM"},
	{0x80, "POLLRDBAND"},
	{0x200, "POLLWRBAND"},
	{unix.POLLERR, "POLLERR"},
	{unix.POLLHUP, "POLLHUP"},
	{unix.POLLNVAL, "POLLNVAL"},
	{0x400, "POLLMSG"},
	{0x1000, "POLLREMOVE"},
	{unix.POLLRDHUP, "POLLRDHUP"},
}}

var epollBits = set{"EPOLL???", []flag{
	{unix.EPOLLIN, "EPOLLIN"},
	{unix.EPOLLPRI, "EPOLLPRI"},
	{unix.EPOLLOUT, "EPOLLOUT"},
	{unix.EPOLLRDNORM, "EPOLLRDNORM"},
	{unix.EPOLLRDBAND, "EPOLLRDBAND"},
	{unix.EPOLLWRNORM, "EPOLLWRNORM"},
	{unix.EPOLLWRBAND, "EPOLLWRBAND"},
	{unix.EPOLLMSG, "EPOLLMSG"},
	{unix.EPOLLERR, "EPOLLERR"},
	{unix.EPOLLHUP, "EPOLLHUP"},
	{unix.EPOLLRDHUP, "EPOLLRDHUP"},
	{unix.EPOLLEXCLUSIVE, "EPOLLEXCLUSIVE"},
	{unix.EPOLLWAKEUP, "EPOLLWAKEUP"},
	{unix.EPOLLONESHOT, "EPOLLONESHOT"},
	{unix.EPOLLET, "EPOLLET"},
}}

var epollOperations = set{"EPOLL_CTL_???", []flag{
	{unix.EPOLL_CTL_ADD, "EPOLL_CTL_ADD"},
	{unix.EPOLL_CTL_DEL, "EPOLL_CTL_DEL"},
	{unix.EPOLL_CTL_MOD, "EPOLL_CTL_MOD"},
}}

var epollCreateBits = set{"EPOLL_???", []flag{{unix.EPOLL_CLOEXEC, "EPOLL_CLOEXEC"}}}

var eventfdBits = set{"EFD_???", []flag{
	{unix.EFD_SEMAPHORE, "EFD_SEMAPHORE"},
	{unix.EFD_CLOEXEC, "EFD_CLOEXEC"},
	{unix.EFD_NONBLOCK, "EFD_NONBLOCK"},
}}

var signalfdBits = set{"SFD_???", []flag{
	{unix.SFD_CLOEXEC, "SFD_CLOEXEC"},
	{unix.SFD_NONBLOCK, "SFD_NONBLOCK"},
}}
