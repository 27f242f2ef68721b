package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// criLog is a container's log in the form the kubelet serves `kubectl logs` from: a line is `time stream F text`.
type criLog struct {
	mutex sync.Mutex
	file  *os.File
}

func openLog(path string) (*criLog, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	return &criLog{file: file}, err
}

func (l *criLog) Close() error { return l.file.Close() }

func (l *criLog) stream(name string) io.Writer { return &criStream{log: l, name: name} }

type criStream struct {
	log  *criLog
	name string
	rest []byte
}

func (s *criStream) Write(data []byte) (int, error) {
	s.rest = append(s.rest, data...)
	for {
		line, after, found := bytes.Cut(s.rest, []byte("\n"))
		if !found {
			return len(data), nil
		}
		s.log.mutex.Lock()
		_, err := fmt.Fprintf(s.log.file, "%s %s F %s\n", time.Now().UTC().Format(time.RFC3339Nano), s.name, line)
		s.log.mutex.Unlock()
		if err != nil {
			return 0, err
		}
		s.rest = after
	}
}
