package trace

// calls are the system calls in number order.
var calls = [...]call{
	0: {"read", kinds{num}, kinds{ptr, size}, nil},
}
