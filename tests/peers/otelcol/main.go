// A collector for tests: the OpenTelemetry Collector's own OTLP receiver, and a line of JSON per request on stdout.
//
// Arguments: the addresses of gRPC and of HTTP, then, for TLS, the files of a certificate and its key.
package main

import (
	"context"
	"log"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/receiver/receivertest"
)

var writing sync.Mutex

func write(line []byte, err error) error {
	if err != nil {
		return err
	}
	writing.Lock()
	defer writing.Unlock()
	_, err = os.Stdout.Write(append(line, '\n'))
	return err
}

func protocol(address string) map[string]any {
	told := map[string]any{"endpoint": address}
	if len(os.Args) > 4 {
		told["tls"] = map[string]any{"cert_file": os.Args[3], "key_file": os.Args[4]}
	}
	return told
}

func run(ctx context.Context) error {
	factory := otlpreceiver.NewFactory()
	config := factory.CreateDefaultConfig()
	protocols := map[string]any{"grpc": protocol(os.Args[1]), "http": protocol(os.Args[2])}
	if err := confmap.NewFromStringMap(map[string]any{"protocols": protocols}).Unmarshal(config); err != nil {
		return err
	}
	spans, err := consumer.NewTraces(func(_ context.Context, told ptrace.Traces) error {
		return write((&ptrace.JSONMarshaler{}).MarshalTraces(told))
	})
	if err != nil {
		return err
	}
	lines, err := consumer.NewLogs(func(_ context.Context, told plog.Logs) error {
		return write((&plog.JSONMarshaler{}).MarshalLogs(told))
	})
	if err != nil {
		return err
	}
	settings := receivertest.NewNopSettings(factory.Type())
	traces, err := factory.CreateTraces(ctx, settings, config, spans)
	if err != nil {
		return err
	}
	if _, err = factory.CreateLogs(ctx, settings, config, lines); err != nil { // the same receiver: one per config
		return err
	}
	var host component.Host = componenttest.NewNopHost()
	if err := traces.Start(ctx, host); err != nil {
		return err
	}
	if err := write([]byte(`"ready"`), nil); err != nil {
		return err
	}
	<-ctx.Done()
	return traces.Shutdown(context.Background())
}

func main() {
	if len(os.Args) < 3 {
		log.Fatal("usage: otelcol GRPC-ADDRESS HTTP-ADDRESS [CERTIFICATE KEY]")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}
