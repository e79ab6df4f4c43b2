// Command stream_words prints the next words of a text over gRPC, as the server makes them.
//
// clients/go/build.sh builds it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/grpc/status"
	nextwordv1 "nextword/v1"
)

func main() {
	if err := run(); err != nil {
		// Of a server's error, its status; the message is one line for a person.
		fmt.Fprintf(os.Stderr, "%s: %s\n", status.Code(err), status.Convert(err).Message())
		os.Exit(1)
	}
}

func run() error {
	address := flag.String("address", "127.0.0.1:50051", "HOST:PORT of the server")
	maxTokens := flag.Int("max-tokens", 0, "tokens to make; 0 is the model's default")
	temperature := flag.Float64("temperature", -1, "0 is greedy; below 0 is the model's default")
	seed := flag.Uint64("seed", 0, "the same seed, the same text; 0 is drawn by the server")
	deadline := flag.Duration("deadline", 10*time.Minute, "when to give up, such as 500ms")
	cancelAfter := flag.Int("cancel-after", 0, "pieces to take before leaving; 0 is all")
	flag.Parse()
	prompt := "Once upon a time"
	if flag.NArg() > 0 {
		prompt = flag.Arg(0)
	}

	connection, err := dial(*address)
	if err != nil {
		return err
	}
	defer connection.Close()
	client := nextwordv1.NewTextGenerationServiceClient(connection)

	// The deadline goes to the server; whoever cancels the context cancels the call there too.
	ctx, cancel := context.WithTimeout(context.Background(), *deadline)
	defer cancel()
	parameters := &nextwordv1.SamplingParameters{}
	if *maxTokens > 0 {
		count := int32(*maxTokens)
		parameters.MaxTokens = &count
	}
	if *temperature >= 0 {
		parameters.Temperature = temperature
	}
	if *seed > 0 {
		parameters.Seed = seed
	}
	stream, err := client.StreamGenerateText(ctx, &nextwordv1.StreamGenerateTextRequest{
		Input:      &nextwordv1.StreamGenerateTextRequest_Prompt{Prompt: prompt},
		Parameters: parameters,
	})
	if err != nil {
		return err
	}
	for count := 1; ; count++ {
		piece, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			fmt.Println()
			return err
		}
		fmt.Print(piece.GetText())
		if summary := piece.GetSummary(); summary != nil {
			fmt.Println()
			fmt.Fprintf(os.Stderr, "[%d tokens of %s@%s, seed %d]\n",
				summary.GetUsage().GetCompletionTokens(), summary.GetModel(),
				summary.GetModelVersion(), summary.GetParameters().GetSeed())
		}
		if count == *cancelAfter {
			fmt.Println()
			fmt.Fprintln(os.Stderr, "[cancelled]")
			return nil
		}
	}
}
