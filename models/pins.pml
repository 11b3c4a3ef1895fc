/*
 * Request pins: one request over three hops, while a rollout is committed and taken back.
 *
 * The scope goes through revisions 1 (baseline), 2 (exposed) and 3 (baseline again, with floor 3). Each hop moves to the
 * newest revision it has heard of at any time of its own, keeps the older ones in its ring, and knows the floor with it. It
 * may hold a revision prepared before it is active. The first hop pins what it has active; later hops follow the pin.
 *
 * The claim: a request sees one revision, unless a hop did not have the pinned one (missed) or it was revoked (revoked), and
 * then it is counted; and no hop uses a revision below its floor.
 *
 * Mutants, which must fail:
 *   M_NOPIN     later hops use what they have active
 *   M_NOFLOOR   a pin below the floor is followed
 *   M_NOCOUNT   a pin that cannot be followed is not counted
 *   M_GUESS     a hop without the pinned revision takes the nearest it has, and calls it the same
 */
#define HOPS 3
byte head = 1, inuse[HOPS] = 1, prepared[HOPS] = 1, floor[HOPS], ring[HOPS] = 1;   /* ring: oldest revision still held */
byte hop, pin, used, first;
bool missed, revoked, mixed;

inline use(rev) {
  used = rev;
  assert(used >= floor[hop]);
  if :: hop == 0 -> first = rev :: else -> mixed = mixed || rev != first fi;
  hop++;
  assert(!mixed || missed || revoked)
}

inline follow() {
  if
  :: hop == 0 -> pin = inuse[0]; use(inuse[0])
#ifdef M_NOPIN
  :: hop > 0 -> use(inuse[hop])
#else
  :: hop > 0 && pin < floor[hop] ->
#ifdef M_NOFLOOR
       use(pin)
#else
#ifndef M_NOCOUNT
       revoked = true;
#endif
       use(inuse[hop])
#endif
  :: hop > 0 && pin >= floor[hop] && pin >= ring[hop] && pin <= inuse[hop] -> use(pin)
  :: hop > 0 && pin >= floor[hop] && pin > inuse[hop] && pin == prepared[hop] -> use(pin)
  :: hop > 0 && pin >= floor[hop] && (pin < ring[hop] || pin > inuse[hop] && pin != prepared[hop]) ->
#ifdef M_GUESS
       use(inuse[hop])
#else
#ifndef M_NOCOUNT
       missed = true;
#endif
       use(inuse[hop])
#endif
#endif
  fi
}

#define member(h) \
  :: d_step { prepared[h] <= head && prepared[h] < 3 -> prepared[h] = head + 1 } \
  :: d_step { inuse[h] < head -> inuse[h]++; floor[h] = (inuse[h] == 3 -> 3 : 0) } \
  :: d_step { ring[h] < inuse[h] -> ring[h]++ }                  /* its age is over */

active proctype world() {
  do
  :: d_step { head < 3 -> head++ }
  member(0)
  member(1)
  member(2)
  :: atomic { hop < HOPS -> follow() }
  :: hop == HOPS -> break
  od
}
