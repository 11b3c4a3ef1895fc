package flag

import "math/bits"

// unitSalt separates the 64 unit buckets of evidence from the buckets of any rollout. It never changes: blocks of
// different instances and releases are added up by it.
const unitSalt = "sluice/unit-bucket/1"

// Bucket places a unit for one salt: the upper 32 bits of mix64(xxhash64(unit) xor xxhash64(salt)), both hashes with
// seed 0 over UTF-8 bytes. One unit has independent buckets under different salts. It is a fixed function: other
// languages compute the same one (api/testdata/bucketing.json), and a restart keeps every unit where it was.
func Bucket(unit, salt string) uint32 { return bucketOf(xxhash64(unit), xxhash64(salt)) }

// Exposed says whether a unit with this bucket is exposed at e: bucket·100,000/2³² < e, rounded down. It is monotone in
// e: whoever is exposed at e is exposed at every larger exposure; nobody is at 0 and everybody is at Full.
func Exposed(bucket uint32, e Exposure) bool { return (uint64(bucket)*uint64(Full))>>32 < uint64(e) }

// UnitBucket returns the unit bucket 0..63 under which evidence of the unit is counted. It has a salt of its own, so it
// says nothing about the unit's arm in any rollout.
func UnitBucket(unit string) uint8 { return unitBucketOf(xxhash64(unit)) }

func bucketOf(unitHash, saltHash uint64) uint32 { return uint32(mix64(unitHash^saltHash) >> 32) }

func unitBucketOf(unitHash uint64) uint8 {
	const unitSaltHash = 0xc97adfc57d9edb02 // xxhash64(unitSalt); a test recomputes it
	return uint8(bucketOf(unitHash, unitSaltHash) >> 26)
}

// mix64 is the finaliser of splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014, with
// the constants of Stafford's variant 13), without the addition of the golden gamma.
func mix64(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

const (
	prime1 uint64 = 11400714785074694791
	prime2 uint64 = 14029467366897019727
	prime3 uint64 = 1609587929392839161
	prime4 uint64 = 9650029242287828579
	prime5 uint64 = 2870177450012600261
)

// xxhash64 is XXH64 with seed 0 (Collet, xxHash fast digest algorithm, version 0.1.1 of the format description).
func xxhash64(s string) uint64 {
	n := uint64(len(s))
	var h uint64
	if len(s) >= 32 {
		h, s = xxStripes(s)
	} else {
		h = prime5
	}
	h += n
	for len(s) >= 8 {
		h = bits.RotateLeft64(h^xxRound(0, le64(s)), 27)*prime1 + prime4
		s = s[8:]
	}
	if len(s) >= 4 {
		h = bits.RotateLeft64(h^uint64(le32(s))*prime1, 23)*prime2 + prime3
		s = s[4:]
	}
	for i := 0; i < len(s); i++ {
		h = bits.RotateLeft64(h^uint64(s[i])*prime5, 11) * prime1
	}
	h = (h ^ h>>33) * prime2
	h = (h ^ h>>29) * prime3
	return h ^ h>>32
}

// xxStripes consumes the 32-byte stripes of s and returns the merged state and the rest of s.
func xxStripes(s string) (uint64, string) {
	v1, v2, v3, v4 := prime1, prime2, uint64(0), uint64(0)
	v1 += prime2
	v4 -= prime1
	for len(s) >= 32 {
		v1 = xxRound(v1, le64(s))
		v2 = xxRound(v2, le64(s[8:]))
		v3 = xxRound(v3, le64(s[16:]))
		v4 = xxRound(v4, le64(s[24:]))
		s = s[32:]
	}
	h := bits.RotateLeft64(v1, 1) + bits.RotateLeft64(v2, 7) + bits.RotateLeft64(v3, 12) + bits.RotateLeft64(v4, 18)
	for _, v := range [4]uint64{v1, v2, v3, v4} {
		h = (h^xxRound(0, v))*prime1 + prime4
	}
	return h, s
}

func xxRound(acc, lane uint64) uint64 { return bits.RotateLeft64(acc+lane*prime2, 31) * prime1 }

func le64(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

func le32(s string) uint32 {
	_ = s[3]
	return uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
}
