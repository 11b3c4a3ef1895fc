package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"sluice.dev/sluice/internal/httpapi"
)

// SocketFile is the name of the unix socket in a data directory.
const SocketFile = "sluice.sock"

// maxSocketPath is what the systems' socket addresses hold.
const maxSocketPath = 100

// listenLocal opens the unix socket: the way in that needs no token and no network. It lies in a directory that only the
// server's user can enter, or where the configuration says.
func (a *App) listenLocal(ctx context.Context) (net.Listener, error) {
	path := a.cfg.Socket
	if path == "" && a.cfg.DataDir != "" && a.cfg.DB == "" {
		path = filepath.Join(a.cfg.DataDir, SocketFile)
		if len(path) > maxSocketPath {
			a.cfg.Log.Warn("no local socket: the directory's path is too long for one", "path", path)
			return nil, nil
		}
	}
	if path == "" {
		return nil, nil
	}
	// What is left of a server that was killed; the store's lock says that none runs here.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("local socket %s: %w (move it away)", path, err)
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("local socket %s: %w (name another with --socket)", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("local socket %s: %w", path, err), ln.Close())
	}
	return ln, nil
}

func markLocal(ctx context.Context, c net.Conn) context.Context {
	if c.LocalAddr().Network() == "unix" {
		return httpapi.LocalSocket(ctx)
	}
	return ctx
}

// name tells this server from the others on its store.
func (a *App) name() string {
	host, err := os.Hostname()
	if err != nil {
		host = "server"
	}
	return fmt.Sprintf("%s/%d/%s", host, os.Getpid(), a.ln.Addr())
}
