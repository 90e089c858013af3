// For orientation: Go's own reverse proxy, with as many kept connections to the backend as it has use for.
//
//	reverse PORT BACKEND-PORT
package main

import (
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
)

func main() {
	target, err := url.Parse("http://127.0.0.1:" + os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	kept := http.DefaultTransport.(*http.Transport).Clone()
	kept.MaxIdleConns, kept.MaxIdleConnsPerHost, kept.DisableCompression = 0, 1024, true
	proxy := &httputil.ReverseProxy{Transport: kept, Rewrite: func(request *httputil.ProxyRequest) {
		request.SetURL(target)
		request.SetXForwarded()
	}}
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], proxy))
}
