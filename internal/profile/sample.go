package profile

// sample keeps SampleSize of the values that came, each with equal chance. The chance is a hash of the value's number, so
// equal streams keep equal samples. Source: algorithm R, Vitter, ACM TOMS 11 (1985).
type sample[T any] struct {
	n    uint64
	kept []T
}

// take hands out the place for the next value, or nil when it is not kept.
func (s *sample[T]) take() *T {
	s.n++
	if len(s.kept) < SampleSize {
		var zero T
		s.kept = append(s.kept, zero)
		return &s.kept[len(s.kept)-1]
	}
	if i := mix(s.n) % s.n; i < SampleSize {
		return &s.kept[i]
	}
	return nil
}
