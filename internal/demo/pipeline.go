package demo

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite" // the feature store's engine

	"sluice.dev/sdk/flag"
	"sluice.dev/sluice/internal/demo/flights"
)

// feature is one row of the feature store.
type feature struct {
	Row int     `json:"row"`
	V11 float64 `json:"v11"`
	V12 float64 `json:"v12,omitempty"`
	Has bool    `json:"has,omitempty"` // v12 is there
}

// transformer replays the flights: it computes both versions of the feature, writes them to the store and then tells the
// consumer that these flights are due. After the unwind it computes v11 alone.
func (c *component) transformer(ctx context.Context) (http.Handler, func(context.Context, string) error, error) {
	var single atomic.Bool
	var started atomic.Bool
	mux := http.NewServeMux()
	mux.HandleFunc("POST /start", func(w http.ResponseWriter, r *http.Request) {
		var to struct{ Next string }
		if err := json.NewDecoder(r.Body).Decode(&to); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if started.CompareAndSwap(false, true) {
			go c.replay(ctx, &single, to.Next)
		}
	})
	unwind := func(context.Context, string) error { single.Store(true); return nil }
	return mux, unwind, nil
}

// replayTick is how often the transformer sends what is due: small enough that no second of evidence is lumpy.
const replayTick = 20 * time.Millisecond

func (c *component) replay(ctx context.Context, single *atomic.Bool, consumer string) {
	tr := flights.NewTransformer(c.fault)
	tick := time.NewTicker(replayTick)
	defer tick.Stop()
	start, sent := time.Now(), 0
	for sent < len(c.rows) {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		due := min(len(c.rows), int(time.Since(start).Seconds()*flights.RowsPerSecond))
		var batch []feature
		for ; sent < due; sent++ {
			r := c.rows[sent]
			if tr.Depth(r.Origin) >= flights.MinDepth {
				v11, v12 := tr.Features(r)
				f := feature{Row: sent, V11: v11}
				if !single.Load() {
					f.V12, f.Has = v12, true
				}
				batch = append(batch, f)
			}
			tr.Observe(r)
		}
		if len(batch) == 0 {
			continue
		}
		if err := c.deliver(ctx, batch, consumer); err != nil && ctx.Err() == nil {
			c.log("deliver: %v", err)
		}
	}
}

func (c *component) deliver(ctx context.Context, batch []feature, consumer string) error {
	if err := c.fetch(ctx, http.MethodPost, "http://"+c.cfg.Store+"/features", batch, nil); err != nil {
		return err
	}
	rows := make([]int, len(batch))
	for i, f := range batch {
		rows[i] = f.Row
	}
	return c.fetch(ctx, http.MethodPost, "http://"+consumer+"/flights", rows, nil)
}

// store is a feature store on SQLite: POST /features writes a batch, GET /features?row= reads one version. On the unwind
// the candidate's values go into quarantine: out of every reader's way, kept for whoever looks into the matter.
func (c *component) store(ctx context.Context) (http.Handler, func(context.Context, string) error, error) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(c.cfg.Dir, "features.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=busy_timeout(2000)")
	if err != nil {
		return nil, nil, fmt.Errorf("open the feature store: %w", err)
	}
	context.AfterFunc(ctx, func() { _ = db.Close() }) // the process ends with it
	if _, err := db.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS features (row INTEGER PRIMARY KEY, v11 REAL NOT NULL, v12 REAL);
		CREATE TABLE IF NOT EXISTS quarantine (row INTEGER PRIMARY KEY, v12 REAL NOT NULL)`); err != nil {
		return nil, nil, fmt.Errorf("create the feature store: %w", err)
	}
	read, err := db.PrepareContext(ctx, `SELECT v11, v12 FROM features WHERE row = $1`)
	if err != nil {
		return nil, nil, fmt.Errorf("prepare the read: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /features", func(w http.ResponseWriter, r *http.Request) { answer(w, nil, putFeatures(r, db)) })
	mux.HandleFunc("GET /features", func(w http.ResponseWriter, r *http.Request) {
		f, err := c.readFeature(r, read)
		answer(w, f, err)
	})
	return mux, func(ctx context.Context, _ string) error { return quarantine(ctx, db) }, nil
}

func putFeatures(r *http.Request, db *sql.DB) error {
	var batch []feature
	if err := json.NewDecoder(r.Body).Decode(&batch); err != nil {
		return err
	}
	tx, err := db.BeginTx(r.Context(), nil)
	if err != nil {
		return err
	}
	for _, f := range batch {
		v12 := sql.NullFloat64{Float64: f.V12, Valid: f.Has}
		if _, err := tx.ExecContext(r.Context(), `INSERT INTO features (row, v11, v12) VALUES ($1, $2, $3) ON CONFLICT (row) DO NOTHING`, f.Row, f.V11, v12); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	return tx.Commit()
}

func quarantine(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	for _, q := range []string{
		`INSERT INTO quarantine (row, v12) SELECT row, v12 FROM features WHERE v12 IS NOT NULL ON CONFLICT (row) DO NOTHING`,
		`UPDATE features SET v12 = NULL WHERE v12 IS NOT NULL`,
	} {
		if _, err := tx.ExecContext(ctx, q); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	return tx.Commit()
}

// attrs are what rules and comparisons may ask of a flight; "flight" is the unit that is bucketed.
func (c *component) attrs(row int) []flag.Attr {
	r := c.rows[row]
	return []flag.Attr{flag.Str("flight", flights.UnitID(c.cfg.Seed, row)), flag.Str("origin", r.Origin), flag.Str("destination", r.Destination)}
}

// value is what the store answers.
type value struct {
	Version string  `json:"version"`
	Value   float64 `json:"value"`
}

// readFeature serves the version that the pinned decision names and measures its own time.
func (c *component) readFeature(r *http.Request, read *sql.Stmt) (value, error) {
	row, err := strconv.Atoi(r.URL.Query().Get("row"))
	if err != nil || row < 0 || row >= len(c.rows) {
		return value{}, fmt.Errorf("row %q is not a row", r.URL.Query().Get("row"))
	}
	ctx, req := c.sdk.BeginHTTP(r, flights.UnitID(c.cfg.Seed, row), c.attrs(row)...)
	version := c.flag.String(ctx, "v11")
	begin := time.Now()
	var v11 float64
	var v12 sql.NullFloat64
	err = read.QueryRowContext(ctx, row).Scan(&v11, &v12)
	if version == "v12" && c.fault == flights.FaultLatency && c.fault.ActiveAt(row) {
		for spent := time.Since(begin); time.Since(begin) < time.Duration(float64(spent)*flights.ReadStretch); { //nolint:revive // a slow read keeps its core busy
		}
	}
	req.Observe("read-time", time.Since(begin).Seconds())
	out := value{Version: version, Value: v11}
	if err == nil && version == "v12" {
		if !v12.Valid {
			err = fmt.Errorf("row %d has no v12", row)
		}
		out.Value = v12.Float64
	}
	req.End(err)
	return out, err
}

// host is the model: it reads the feature of the pinned version and predicts.
func (c *component) host(context.Context) (http.Handler, func(context.Context, string) error, error) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /predict", func(w http.ResponseWriter, r *http.Request) {
		row, err := strconv.Atoi(r.URL.Query().Get("row"))
		if err != nil || row < 0 || row >= len(c.rows) {
			http.Error(w, "row is not a row", http.StatusBadRequest)
			return
		}
		ctx, req := c.sdk.BeginHTTP(r, flights.UnitID(c.cfg.Seed, row), c.attrs(row)...)
		_ = c.flag.String(ctx, "v11") // the decision of this request, for its own evidence and the next hop's pin
		var v value
		err = c.fetch(ctx, http.MethodGet, "http://"+c.cfg.Store+"/features?"+url.Values{"row": {strconv.Itoa(row)}}.Encode(), nil, &v)
		req.End(err)
		answer(w, value{Version: v.Version, Value: flights.Predict(v.Value)}, err)
	})
	return mux, nil, nil
}

// consumers is how many flights are asked for at once.
const consumers = 4

// consumer asks for a prediction of each flight and, as the flights are of the past, scores it at once.
func (c *component) consumer(ctx context.Context) (http.Handler, func(context.Context, string) error, error) {
	due := make(chan int, 4096)
	for range consumers {
		go func() {
			for {
				select {
				case <-ctx.Done():
					return
				case row := <-due:
					if err := c.score(ctx, row); err != nil && ctx.Err() == nil {
						c.log("flight %d: %v", row, err)
					}
				}
			}
		}()
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /flights", func(w http.ResponseWriter, r *http.Request) {
		var rows []int
		if err := json.NewDecoder(r.Body).Decode(&rows); err != nil {
			answer(w, nil, err)
			return
		}
		for _, row := range rows {
			if row < 0 || row >= len(c.rows) {
				answer(w, nil, fmt.Errorf("row %d is not a row", row))
				return
			}
			select {
			case due <- row:
			case <-r.Context().Done():
				return
			}
		}
		answer(w, nil, nil)
	})
	return mux, nil, nil
}

func (c *component) score(ctx context.Context, row int) error {
	r := c.rows[row]
	ctx, req := c.sdk.Begin(ctx, flights.UnitID(c.cfg.Seed, row), c.attrs(row)...)
	_ = c.flag.String(ctx, "v11") // the entry decides; the pin carries it to the model host and the store
	var p value
	err := c.fetch(ctx, http.MethodGet, "http://"+c.cfg.Host+"/predict?"+url.Values{"row": {strconv.Itoa(row)}}.Encode(), nil, &p)
	if err == nil {
		s := flights.ScoreOf(r, p.Value)
		req.Observe("abs-error", s.Error)
	}
	req.End(err)
	return err
}

func answer(w http.ResponseWriter, v any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if v == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the reader is gone: nothing to do
}
