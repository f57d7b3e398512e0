// Holds a log, a proof and a cosignature of proofkeep against the libraries that others use: golang.org/x/mod/sumdb for signed
// notes and Merkle trees, github.com/transparency-dev/formats for cosignatures. It has no code of the project's.
//
//	tlog tiles FOLDER VKEY             the checkpoint's signature; its root from the tiles; every entry in its bundle and log/
//	tlog proof FILE ENVELOPE VKEY      a C2SP tlog-proof of one receipt
//	tlog cosigned FILE VKEY WITNESS    a cosigned checkpoint
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type checkpoint struct {
	origin string
	size   int64
	root   tlog.Hash
}

func openCheckpoint(msg []byte, verifiers ...note.Verifier) (c checkpoint, n *note.Note, err error) {
	if n, err = note.Open(msg, note.VerifierList(verifiers...)); err != nil {
		return
	}
	if len(n.Sigs) < len(verifiers) {
		return c, n, errors.New("not all of the keys signed")
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) < 4 {
		return c, n, errors.New("not a checkpoint")
	}
	c.origin = lines[0]
	if c.size, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return
	}
	c.root, err = tlog.ParseHash(lines[2])
	return
}

// tiles reads tile/<level>/<index> of a folder; tlog names them tile/8/<level>/<index>.
type tiles struct{ folder string }

func (t tiles) Height() int                     { return 8 }
func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}
func (t tiles) ReadTiles(want []tlog.Tile) ([][]byte, error) {
	var out [][]byte
	for _, tile := range want {
		data, err := os.ReadFile(filepath.Join(t.folder, "tile", strings.TrimPrefix(tile.Path(), "tile/8/")))
		if err != nil {
			return nil, err
		}
		out = append(out, data)
	}
	return out, nil
}

func bundlePath(index int64, width int64) string {
	p := strings.TrimPrefix(tlog.Tile{H: 8, L: 0, N: index, W: 256}.Path(), "tile/8/0/")
	if width < 256 {
		p += fmt.Sprintf(".p/%d", width)
	}
	return "tile/entries/" + p
}

func checkTiles(folder, vkey string) error {
	msg, err := os.ReadFile(filepath.Join(folder, "checkpoint"))
	if err != nil {
		return err
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return err
	}
	c, _, err := openCheckpoint(msg, v)
	if err != nil {
		return err
	}
	if c.origin != v.Name() {
		return errors.New("the checkpoint is of another log")
	}
	reader := tlog.TileHashReader(tlog.Tree{N: c.size, Hash: c.root}, tiles{folder})
	root, err := tlog.TreeHash(c.size, reader)
	if err != nil {
		return err
	}
	if root != c.root {
		return errors.New("the tiles give another root")
	}
	for index := int64(0); index*256 < c.size; index++ {
		width := min(c.size-index*256, 256)
		bundle, err := os.ReadFile(filepath.Join(folder, bundlePath(index, width)))
		if err != nil {
			return err
		}
		for i := int64(0); i < width; i++ {
			seq := index*256 + i
			if len(bundle) < 2 || len(bundle) < 2+int(binary.BigEndian.Uint16(bundle)) {
				return fmt.Errorf("bundle %d is cut short", index)
			}
			n := int(binary.BigEndian.Uint16(bundle))
			entry := bundle[2 : 2+n]
			bundle = bundle[2+n:]
			hashes, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(0, seq)})
			if err != nil {
				return err
			}
			if tlog.RecordHash(entry) != hashes[0] {
				return fmt.Errorf("entry %d is not the tree's", seq)
			}
			object, err := os.ReadFile(filepath.Join(folder, fmt.Sprintf("log/%016d", seq)))
			if err != nil {
				return err
			}
			if !bytes.Equal(object, entry) {
				return fmt.Errorf("log/%016d is not the bundle's entry", seq)
			}
			proof, err := tlog.ProveRecord(c.size, seq, reader)
			if err != nil {
				return err
			}
			if err := tlog.CheckRecord(proof, c.size, c.root, seq, tlog.RecordHash(object)); err != nil {
				return err
			}
		}
		if len(bundle) != 0 {
			return fmt.Errorf("bundle %d has more than its entries", index)
		}
	}
	for old := int64(1); old <= c.size; old += max(1, c.size/50) {
		before, err := tlog.TreeHash(old, reader)
		if err != nil {
			return err
		}
		proof, err := tlog.ProveTree(c.size, old, reader)
		if err != nil {
			return err
		}
		if err := tlog.CheckTree(proof, c.size, c.root, old, before); err != nil {
			return err
		}
	}
	fmt.Printf("%d entries, root %v\n", c.size, c.root)
	return nil
}

func checkProof(file, envelope, vkey string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	entry, err := os.ReadFile(envelope)
	if err != nil {
		return err
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return err
	}
	head, msg, ok := strings.Cut(string(text), "\n\n")
	lines := strings.Split(head, "\n")
	if !ok || len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return errors.New("not a tlog-proof")
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[1], "index "), 10, 64)
	if err != nil {
		return err
	}
	var proof tlog.RecordProof
	for _, l := range lines[2:] {
		h, err := tlog.ParseHash(l)
		if err != nil {
			return err
		}
		proof = append(proof, h)
	}
	c, _, err := openCheckpoint([]byte(msg), v)
	if err != nil {
		return err
	}
	if err := tlog.CheckRecord(proof, c.size, c.root, index, tlog.RecordHash(entry)); err != nil {
		return err
	}
	fmt.Printf("entry %d of %d, sha256 %x\n", index, c.size, sha256.Sum256(entry))
	return nil
}

func checkCosigned(file, vkey, witness string) error {
	msg, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return err
	}
	w, err := fnote.NewVerifierForCosignatureV1(witness)
	if err != nil {
		return err
	}
	c, n, err := openCheckpoint(msg, v, w)
	if err != nil {
		return err
	}
	for _, s := range n.Sigs {
		if s.Name == w.Name() {
			raw, err := base64.StdEncoding.DecodeString(s.Base64)
			if err != nil {
				return err
			}
			fmt.Printf("%d entries, cosigned by %s at %d\n", c.size, s.Name, binary.BigEndian.Uint64(raw[4:12]))
			return nil
		}
	}
	return errors.New("the witness did not cosign")
}

func run(args []string) error {
	switch {
	case len(args) == 3 && args[0] == "tiles":
		return checkTiles(args[1], args[2])
	case len(args) == 4 && args[0] == "proof":
		return checkProof(args[1], args[2], args[3])
	case len(args) == 4 && args[0] == "cosigned":
		return checkCosigned(args[1], args[2], args[3])
	}
	return errors.New("tiles FOLDER VKEY | proof FILE ENVELOPE VKEY | cosigned FILE VKEY WITNESS")
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
