package flights

import "fmt"

// Error says why a data file or a set of rows is refused.
type Error struct {
	Code   string // stable id, one of the Code constants
	Offset int    // decoding: byte in the decompressed file; encoding: row
	Text   string // what is wrong, with the value
}

func (e *Error) Error() string { return fmt.Sprintf("%s at %d (%s)", e.Text, e.Offset, e.Code) }

// Codes of Error.
const (
	CodeGzip     = "flights.gzip"     // not one gzip member, or something after it
	CodeMagic    = "flights.magic"    // another kind of file
	CodeShort    = "flights.short"    // the file ends too early
	CodeTrailing = "flights.trailing" // something after the last column
	CodeVarint   = "flights.varint"   // a number of more than 64 bits, or not in its shortest form
	CodeLimit    = "flights.limit"    // larger than the format allows
	CodeRange    = "flights.range"    // a value no flight can have
	CodeAirport  = "flights.airport"  // not a code of three capital letters, listed twice, or never used
	CodeOrder    = "flights.order"    // rows not by time, or airports not by use
	CodeRoute    = "flights.route"    // origin and destination are one, or a route with two distances
)
