module sluice.dev/sluice

go 1.26

require sluice.dev/sdk v0.0.0

replace sluice.dev/sdk => ./sdk
