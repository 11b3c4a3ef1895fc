package cli

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/internal/anomaly"
)

func benchAnomalyCmd(g *globals) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "anomaly", Short: "How well single streams are watched, scored as the Numenta Anomaly Benchmark does", Args: cobra.NoArgs,
		Long: "Scores the watch of single streams on a folder of labelled series: windows.json names the files (timestamp,value as CSV, .gz allowed)\n" +
			"and when something was wrong in each. One set of parameters is used for all, and no value of a file's future.",
		Example: "  sluice bench anomaly --data nab\n  sluice bench anomaly --data nab -o json",
		RunE: func(*cobra.Command, []string) error {
			series, err := readBenchmark(dir)
			if err != nil {
				return err
			}
			r, err := anomaly.Bench(series)
			if err != nil {
				return fmt.Errorf("%s: %w", dir, err)
			}
			if g.output == "json" {
				return g.json(r)
			}
			printAnomaly(g, r)
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "data", "", "folder with windows.json and the files it names")
	_ = cmd.MarkFlagRequired("data") // only fails for a flag that is not there
	return cmd
}

// readBenchmark reads windows.json and the files it names, in order of their names.
func readBenchmark(dir string) ([]*anomaly.Series, error) {
	root := os.DirFS(dir)
	f, err := root.Open("windows.json")
	if err != nil {
		return nil, fmt.Errorf("--data %q: it must be a folder with windows.json: %w", dir, err)
	}
	windows, err := anomaly.ReadWindows(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("--data %q: %w", dir, err)
	}
	var out []*anomaly.Series
	for _, name := range slices.Sorted(maps.Keys(windows)) {
		s, err := readSeries(root, name)
		if err != nil {
			return nil, fmt.Errorf("--data %q: %w", dir, err)
		}
		s.Windows = windows[name]
		out = append(out, s)
	}
	return out, nil
}

// readSeries opens a file as it is named or with .gz added.
func readSeries(root fs.FS, name string) (s *anomaly.Series, err error) {
	at := path.Clean(name)
	f, err := root.Open(at)
	if errors.Is(err, fs.ErrNotExist) {
		at += ".gz"
		f, err = root.Open(at)
	}
	if err != nil {
		return nil, fmt.Errorf("windows.json names %q: %w", name, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var r io.Reader = f
	if path.Ext(at) == ".gz" {
		if r, err = gzip.NewReader(f); err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
	}
	return anomaly.ReadSeries(name, r)
}

func printAnomaly(g *globals, r anomaly.Result) {
	g.printf("%-48s %7s %8s %9s %13s\n", "FILE", "ROWS", "WINDOWS", "DETECTED", "FALSE ALARMS")
	var windows, detected, alarms int
	for _, f := range r.Files {
		g.printf("%-48s %7d %8d %9d %13d\n", f.File, f.Rows, f.Windows, f.Detected, f.FalseAlarms)
		windows, detected, alarms = windows+f.Windows, detected+f.Detected, alarms+f.FalseAlarms
	}
	g.printf("%-48s %7s %8d %9d %13d\n\n", fmt.Sprintf("%d files", len(r.Files)), "", windows, detected, alarms)
	g.printf("%-48s %9s %9s %9s\n", "SCORE (0 says nothing, 100 is perfect)", "standard", "low FP", "low FN")
	line := func(what string, s anomaly.Scores) {
		g.printf("%-48s %9.1f %9.1f %9.1f\n", what, s.Standard, s.RewardLowFP, s.RewardLowFN)
	}
	line("threshold chosen on all files, as NAB does", r.Scores)
	if r.HeldOutHalf != nil {
		line("every second file, threshold chosen on the rest", *r.HeldOutHalf)
	}
}
