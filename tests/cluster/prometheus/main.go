// Plays scrapes to Prometheus' own parser, database and rule engine, in a time of its own, and says which alerts fire.
//
//	alerts RULES < phases
//
// RULES is a file of rule groups. phases (JSON) is a list of {seconds, targets: [{labels, text}]}: for so long every scrape of a target
// gives this text; `text` null: it does not answer. Printed (JSON) is for each phase what fires at its end: [{labels, annotations}].
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

const every = 15 * time.Second // between two scrapes, and two looks at the rules

type phase struct {
	Seconds int
	Targets []struct {
		Labels map[string]string
		Text   *string
	}
}

type alert struct {
	Labels      labels.Labels `json:"labels"`
	Annotations labels.Labels `json:"annotations"`
}

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(file string) error {
	var phases []phase
	if err := json.NewDecoder(os.Stdin).Decode(&phases); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "alerts-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	quiet := slog.New(slog.DiscardHandler)
	db, err := tsdb.Open(dir, quiet, nil, tsdb.DefaultOptions(), nil)
	if err != nil {
		return err
	}
	defer db.Close()
	language := parser.NewParser(parser.Options{})
	engine := promql.NewEngine(promql.EngineOpts{Logger: quiet, MaxSamples: 1e7, Timeout: time.Minute, Parser: language})
	manager := rules.NewManager(&rules.ManagerOptions{
		NameValidationScheme: model.UTF8Validation,
		Context:              context.Background(),
		QueryFunc:            rules.EngineQueryFunc(engine, db),
		NotifyFunc:           func(context.Context, string, ...*rules.Alert) {},
		AppendableV2:         db,
		Queryable:            db,
		Logger:               quiet,
		Parser:               language,
	})
	groups, errs := manager.LoadGroups(every, labels.EmptyLabels(), "", nil, false, file)
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	now := time.Unix(1_000_000_000, 0)
	told := [][]alert{}
	shown := map[string]labels.Labels{}
	for _, one := range phases {
		for end := now.Add(time.Duration(one.Seconds) * time.Second); now.Before(end); now = now.Add(every) {
			if shown, err = scrape(db, one, now, shown); err != nil {
				return err
			}
			for _, group := range groups {
				group.Eval(context.Background(), now)
			}
		}
		firing := []alert{}
		for _, group := range groups {
			for _, rule := range group.Rules() {
				if rule.LastError() != nil {
					return fmt.Errorf("%s: %w", rule.Name(), rule.LastError())
				}
			}
			for _, rule := range group.AlertingRules() {
				for _, active := range rule.ActiveAlerts() {
					if active.State == rules.StateFiring {
						firing = append(firing, alert{active.Labels, active.Annotations})
					}
				}
			}
		}
		slices.SortFunc(firing, func(a, b alert) int { return labels.Compare(a.Labels, b.Labels) })
		told = append(told, firing)
	}
	return json.NewEncoder(os.Stdout).Encode(told)
}

// scrape adds what every target says at this time, and, as Prometheus does, the end of each series that is not there any more.
func scrape(db *tsdb.DB, one phase, now time.Time, before map[string]labels.Labels) (map[string]labels.Labels, error) {
	shown, into := map[string]labels.Labels{}, db.Appender(context.Background())
	add := func(series labels.Labels, sample float64) error {
		shown[series.String()] = series
		_, err := into.Append(0, series, now.UnixMilli(), sample)
		return err
	}
	for _, target := range one.Targets {
		up := labels.NewBuilder(labels.FromMap(target.Labels)).Set(labels.MetricName, "up").Labels()
		if target.Text == nil {
			if err := add(up, 0); err != nil {
				return nil, err
			}
			continue
		}
		if err := errors.Join(add(up, 1), parse(*target.Text, target.Labels, add)); err != nil {
			return nil, err
		}
	}
	for name, series := range before {
		if _, there := shown[name]; !there {
			if _, err := into.Append(storage.SeriesRef(0), series, now.UnixMilli(), math.Float64frombits(value.StaleNaN)); err != nil {
				return nil, err
			}
		}
	}
	return shown, into.Commit()
}

func parse(text string, more map[string]string, add func(labels.Labels, float64) error) error {
	said, err := textparse.New([]byte(text), "text/plain; version=0.0.4", nil, textparse.ParserOptions{})
	if err != nil {
		return err
	}
	for {
		entry, err := said.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if entry != textparse.EntrySeries {
			continue
		}
		var series labels.Labels
		_, _, sample := said.Series()
		said.Labels(&series)
		builder := labels.NewBuilder(series)
		for name, value := range more {
			builder.Set(name, value)
		}
		if err := add(builder.Labels(), sample); err != nil {
			return err
		}
	}
}
