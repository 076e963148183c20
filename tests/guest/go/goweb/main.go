// Goweb is a guest program in Go: a web server, and the client that asks it. With
// the argument "serve" it is the server alone, and says where it listens.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
)

var tests = []struct {
	name string
	fn   func(url string) error
}{
	{"page", page},
	{"post", post},
	{"large", large},
	{"parallel", parallel},
	{"missing", missing},
}

func handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hello", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello %s\n", r.URL.Query().Get("name"))
	})
	mux.HandleFunc("POST /length", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprintln(w, n, err)
	})
	mux.HandleFunc("GET /large", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(w, io.LimitReader(letters{}, 3<<20))
	})
	return mux
}

// letters are without end.
type letters struct{}

func (letters) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func get(url string) (string, error) {
	r, err := http.Get(url)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	return string(text), err
}

func want(got string, err error, want string) error {
	if err == nil && got != want {
		err = fmt.Errorf("got %.60q, want %.60q", got, want)
	}
	return err
}

func page(url string) error {
	got, err := get(url + "/hello?name=world")
	return want(got, err, "hello world\n")
}

func post(url string) error {
	r, err := http.Post(url+"/length", "text/plain", io.LimitReader(letters{}, 1<<20))
	if err != nil {
		return err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	return want(string(text), err, "1048576 <nil>\n")
}

func large(url string) error {
	got, err := get(url + "/large")
	return want(got, err, strings.Repeat("x", 3<<20))
}

func parallel(url string) error {
	errs := make([]error, 20)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			name := fmt.Sprint("number", i)
			got, err := get(url + "/hello?name=" + name)
			errs[i] = want(got, err, "hello "+name+"\n")
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func missing(url string) error {
	r, err := http.Get(url + "/nothing")
	if err != nil {
		return err
	}
	r.Body.Close()
	return want(r.Status, nil, "404 Not Found")
}

func main() {
	if len(os.Args) != 2 {
		fmt.Println("usage: goweb --list | TEST | serve")
		os.Exit(2)
	}
	if os.Args[1] == "--list" {
		for _, t := range tests {
			fmt.Println(t.name)
		}
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println("listen:", err)
		os.Exit(1)
	}
	url := "http://" + l.Addr().String()
	server := &http.Server{Handler: handler()}
	if os.Args[1] == "serve" {
		fmt.Println(url)
		fmt.Println(server.Serve(l))
		os.Exit(1)
	}
	go server.Serve(l)
	for _, t := range tests {
		if t.name != os.Args[1] {
			continue
		}
		if err := errors.Join(t.fn(url), server.Shutdown(context.Background())); err != nil {
			fmt.Println(t.name+":", err)
			os.Exit(1)
		}
		fmt.Println(t.name + ": ok")
		return
	}
	os.Exit(2)
}
