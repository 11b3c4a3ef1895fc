package sluice

import "time"

func wallClock() time.Duration { return time.Duration(time.Now().UnixNano()) }
