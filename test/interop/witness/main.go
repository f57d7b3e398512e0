// Holds a witness that is asked over HTTP against the client that others use: a log of github.com/transparency-dev/tessera in a
// folder, whose checkpoints are published only when the witness has cosigned them, over the consistency proofs that Tessera makes.
// It has no code of the project's.
//
//	witness key NAME                            a new key of a log: signer's line, verifier's line
//	witness grow FOLDER SIGNER WITNESS URL N    add N entries one after the other, each witnessed; prints the published checkpoint
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"time"

	fnote "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
)

func grow(folder, signer, witness, place, count string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	s, err := note.NewSigner(signer)
	if err != nil {
		return err
	}
	at, err := url.Parse(place)
	if err != nil {
		return err
	}
	w, err := tessera.NewWitness(witness, at)
	if err != nil {
		return err
	}
	driver, err := posix.New(ctx, posix.Config{Path: folder})
	if err != nil {
		return err
	}
	options := tessera.NewAppendOptions().WithCheckpointSigner(s).WithBatching(1, 20*time.Millisecond).
		WithCheckpointInterval(100*time.Millisecond).
		WithWitnesses(tessera.NewWitnessGroup(1, w), &tessera.WitnessOptions{Timeout: 5 * time.Second, FailOpen: false})
	appender, shutdown, reader, err := tessera.NewAppender(ctx, driver, options)
	if err != nil {
		return err
	}
	awaiter := tessera.NewPublicationAwaiter(ctx, reader.ReadCheckpoint, 50*time.Millisecond)
	var published []byte
	for i := 0; i < n; i++ {
		if _, published, err = awaiter.Await(ctx, appender.Add(ctx, tessera.NewEntry([]byte(fmt.Sprint("entry ", time.Now(), i))))); err != nil {
			return err
		}
	}
	if err := shutdown(ctx); err != nil {
		return err
	}
	v, err := fnote.NewVerifierForCosignatureV1(witness)
	if err != nil {
		return err
	}
	if _, err := note.Open(published, note.VerifierList(v)); err != nil {
		return fmt.Errorf("the published checkpoint is not cosigned: %v", err)
	}
	_, err = os.Stdout.Write(published)
	return err
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "key":
		s, v, err := note.GenerateKey(rand.Reader, args[1])
		fmt.Printf("%s\n%s\n", s, v)
		return err
	case len(args) == 6 && args[0] == "grow":
		return grow(args[1], args[2], args[3], args[4], args[5])
	}
	return fmt.Errorf("what?")
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
