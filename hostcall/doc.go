// Package hostcall is the only place outside the platforms that calls the host
// kernel. Each call is wrapped once.
package hostcall
