package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sluice.dev/sluice/internal/app"
	"sluice.dev/sluice/internal/client"
	"sluice.dev/sluice/internal/store"
)

// examineData looks at a data directory, beside the server that may run on it.
func examineData(ctx context.Context, dir string) []finding {
	f := finding{Check: "data", Detail: dir}
	st, err := os.Stat(dir)
	switch {
	case err != nil:
		f.Detail, f.Fix = err.Error(), "`sluice serve --data DIR` makes it"
	case !st.IsDir():
		f.Detail = dir + " is no directory"
	case st.Mode().Perm()&0o077 != 0:
		f.Detail, f.Fix = fmt.Sprintf("%s is open to others (%s): it holds keys", dir, st.Mode().Perm()), "chmod 700 "+dir
	default:
		f.OK, f.Detail = true, dir+" is a directory for its owner alone"
	}
	if !f.OK {
		return []finding{f}
	}
	s, err := store.OpenSource(ctx, dir)
	return []finding{f, examineSpace(dir), examineLog(ctx, s, err), examineSocket(ctx, dir)}
}

// examineLog verifies the log of a store and closes it.
func examineLog(ctx context.Context, s *store.Source, err error) finding {
	f := finding{Check: "log", Fix: "keep a copy, then restore the last backup with `sluice restore`; it is never repaired in place"}
	if err != nil {
		f.Detail, f.Fix = err.Error(), ""
		var oe *store.OpenError
		if errors.As(err, &oe) {
			f.Fix = oe.Remedy
		}
		return f
	}
	n, err := s.Verify(ctx)
	if err := errors.Join(err, s.Close()); err != nil {
		f.Detail = err.Error()
		return f
	}
	return finding{Check: "log", OK: true, Detail: fmt.Sprintf("verified, %d records", n)}
}

// minFree is how much space a data directory should have, bytes.
const minFree = 100 << 20

func examineSpace(dir string) finding {
	f := finding{Check: "space", Fix: "free space on the file system of " + dir}
	free, known := freeBytes(dir)
	switch {
	case !store.HasReserve(dir):
		f.Detail = "the space kept for rollbacks is not there: the disk was full, or no server has run here yet"
	case known && free < minFree:
		f.Detail = fmt.Sprintf("%d MB free, %d MB are too few", free>>20, minFree>>20)
	case known:
		f.OK, f.Fix, f.Detail = true, "", fmt.Sprintf("%d MB free, and what is kept for rollbacks", free>>20)
	default:
		f.OK, f.Fix, f.Detail = true, "", "what is kept for rollbacks is there"
	}
	return f
}

// examineSocket tries the way in that needs no token and no network.
func examineSocket(ctx context.Context, dir string) finding {
	path, err := filepath.Abs(filepath.Join(dir, app.SocketFile))
	f := finding{Check: "socket", OK: true}
	if err != nil {
		return finding{Check: "socket", Detail: err.Error()}
	}
	if _, err := os.Stat(path); err != nil {
		f.Detail = "no server runs on " + dir + " at the moment"
		return f
	}
	c, err := client.New("unix://"+path, "")
	if err == nil {
		_, _, err = c.Ping(ctx)
	}
	if err != nil {
		f.Detail = "a server was killed on " + dir + ": its socket is still there, the next one takes it over"
		return f
	}
	f.Detail = "SLUICE_SERVER=unix://" + path + " works without token and network"
	return f
}

// examineDatabase looks at a database that servers share.
func examineDatabase(ctx context.Context, url string) []finding {
	s, err := store.OpenSharedSource(ctx, url)
	if err != nil {
		return []finding{examineLog(ctx, nil, err)}
	}
	list := []finding{examineSettings(ctx, s), examineLeader(ctx, s)}
	return append(list, examineLog(ctx, s, nil))
}

func examineSettings(ctx context.Context, s *store.Source) finding {
	f := finding{Check: "database"}
	unsafe, err := s.Unsafe(ctx)
	switch {
	case err != nil:
		f.Detail = err.Error()
	case len(unsafe) > 0:
		f.Detail = strings.Join(unsafe, " and ") + " off: a crash of the database's machine could lose an acknowledged rollback"
		f.Fix = "set it on in postgresql.conf"
	default:
		f.OK, f.Detail = true, "reachable, writable, and a commit reaches its disk"
	}
	return f
}

func examineLeader(ctx context.Context, s *store.Source) finding {
	f := finding{Check: "leader", Fix: "start `sluice serve --db` on each of the machines, and see their logs"}
	l, err := s.Leader(ctx)
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	if l.Name == "" {
		f.Detail = "no server leads"
		return f
	}
	c, err := client.New(l.Address, "")
	if err == nil {
		_, _, err = c.Ping(ctx)
	}
	if err != nil {
		f.Detail = fmt.Sprintf("%s leads in epoch %d and cannot be reached from here: %v", l.Name, l.Epoch, err)
		f.Fix = "--advertise must name an address that the other servers reach"
		return f
	}
	return finding{Check: "leader", OK: true, Detail: fmt.Sprintf("%s leads in epoch %d", l.Address, l.Epoch)}
}
