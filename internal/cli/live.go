package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"sluice.dev/sluice/internal/client"
	"sluice.dev/sluice/internal/rollout"
)

// live is `get rollout NAME -w` on a terminal: the view is drawn again in place, below what the terminal already shows.
type live struct {
	g    *globals
	c    *client.Client
	name string
	open func(address string) error // starts a browser

	last   rolloutView
	asOf   time.Time // of last
	lost   error     // why the server did not answer since
	held   bool      // p: the view stands still
	typing bool      // r: the name is being typed
	typed  string
	note   string
	drawn  int // lines on the screen
}

// liveTerminal reports whether a view can be drawn in place.
func (g *globals) liveTerminal() bool {
	return g.output == "table" && g.out.terminal() && os.Getenv("TERM") != "dumb"
}

// live follows a rollout until it is over or the reader leaves. Keys: q leaves, p holds the view, w opens the rollout's
// page, r rolls back after the rollout's name has been typed.
func (g *globals) live(ctx context.Context, c *client.Client, name string) error {
	l := &live{g: g, c: c, name: name, open: openBrowser}
	if err := l.fetch(ctx); err != nil {
		return err
	}
	keys, restore, err := g.keys()
	if err != nil {
		return err
	}
	defer func() {
		restore()
		g.out.raw, g.err.raw = false, false
		g.printf("\n")
	}()
	g.out.raw, g.err.raw = keys != nil, keys != nil
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		l.draw(time.Now())
		if l.last.Phase.Terminal() && !l.held {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case key := <-keys:
			if leave := l.key(ctx, key); leave {
				return nil
			}
			if key == ctrlC && !l.typing {
				return exit(exitInterrupted, "")
			}
		case <-tick.C:
			if l.held {
				continue
			}
			if err := l.fetch(ctx); err != nil {
				return err
			}
		}
	}
}

// fetch reads the rollout. A server that does not answer is no end: the view keeps what it has and says how old it is.
func (l *live) fetch(ctx context.Context) error {
	v, _, err := fetch(ctx, l.c, l.name)
	switch {
	case err == nil:
		l.last, l.asOf, l.lost = v, time.Now(), nil
	case errors.Is(err, client.ErrUnreachable) && !l.asOf.IsZero() && ctx.Err() == nil:
		l.lost = err
	default:
		return err
	}
	return nil
}

// Keys that are no letters.
const (
	ctrlC     = 3
	backspace = 127
	ctrlH     = 8
	escape    = 27
)

// keys reads the keyboard key by key. Without one, for example when input is redirected, nothing ever arrives.
func (g *globals) keys() (<-chan byte, func(), error) {
	in, ok := g.in.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return nil, func() {}, nil
	}
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, nil, fmt.Errorf("read keys: %w", err)
	}
	keys := make(chan byte, 64)
	go func() { // ends with the process: a read of a terminal cannot be called off
		var b [1]byte
		for {
			if _, err := io.ReadFull(in, b[:]); err != nil {
				return
			}
			keys <- b[0]
		}
	}()
	return keys, func() { _ = term.Restore(int(in.Fd()), before) }, nil
}

// key acts on one key and reports whether the reader leaves.
func (l *live) key(ctx context.Context, key byte) (leave bool) {
	if l.typing {
		l.typeName(ctx, key)
		return false
	}
	l.note = ""
	switch key {
	case 'q':
		return true
	case 'p':
		l.held = !l.held
	case 'w':
		address := page(l.c, "get", []string{"rollout", l.name})
		l.note = "opened " + address
		if err := l.open(address); err != nil {
			l.note = "no browser to open (name one in BROWSER); the page is " + address
		}
	case 'r':
		if canRollBack(l.last.Phase) {
			l.typing, l.typed = true, ""
		} else {
			l.note = "nothing to roll back: it is " + string(l.last.Phase)
		}
	}
	return false
}

func canRollBack(p rollout.Phase) bool {
	return !p.Terminal() && p != rollout.RollingBack && p != rollout.RollbackIncomplete
}

func (l *live) typeName(ctx context.Context, key byte) {
	switch {
	case key == escape || key == ctrlC:
		l.typing, l.note = false, "not rolled back"
	case key == backspace || key == ctrlH:
		l.typed = l.typed[:max(0, len(l.typed)-1)]
	case key == '\r' || key == '\n':
		l.typing = false
		if l.typed != l.name {
			l.note = "not rolled back: the name is " + l.name
			return
		}
		err := l.c.Post(ctx, "/v1/rollouts/"+url.PathEscape(l.name)+"/rollback", map[string]any{"reason": "rolled back from the terminal"}, nil)
		if l.note = "rollback asked for"; err != nil {
			l.note = "not rolled back: " + err.Error()
		}
	case key >= ' ' && key < utf8.RuneSelf && len(l.typed) < 128:
		l.typed += string(rune(key))
	}
}

// lines is what stands on a screen of the given size.
func (l *live) lines(now time.Time, width, height int) []string {
	at := now
	if l.held || l.lost != nil {
		at = l.asOf
	}
	lines := append(view(l.last, at, width), "", clip(l.foot(now), width))
	if over := len(lines) - (height - 1); height > 1 && over > 0 {
		keep := max(0, height-1-3)
		tail := lines[len(lines)-2:]
		lines = append(lines[:keep:keep], clip(fmt.Sprintf("… %d more lines", over+1), width))
		lines = append(lines, tail...)
	}
	return lines
}

func (l *live) foot(now time.Time) string {
	switch {
	case l.typing:
		return fmt.Sprintf("roll back: type the name and Enter, Esc to leave it: %s_", l.typed)
	case l.lost != nil:
		return fmt.Sprintf("▲ stale: as of %s, %s old; asking again", l.asOf.UTC().Format("15:04:05Z"), now.Sub(l.asOf).Round(time.Second))
	case l.note != "":
		return l.note
	case l.last.Phase.Terminal():
		return "over; more: sluice why " + l.name + ", sluice proof " + l.name
	case l.held:
		return "◆ held: the view stands still, the rollout does not   p go on   q quit"
	}
	return "q quit   p hold the view   w open the page   r roll back"
}

// draw replaces what was drawn before.
func (l *live) draw(now time.Time) {
	width, height := l.g.out.size()
	lines := l.lines(now, width, height)
	up := ""
	if l.drawn > 1 {
		up = fmt.Sprintf("\x1b[%dA", l.drawn-1)
	}
	fmt.Fprintf(l.g.raw, "%s\r\x1b[J", up)
	l.g.printf("%s", strings.Join(lines, "\n"))
	l.drawn = len(lines)
}
