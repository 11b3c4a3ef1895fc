// Command sluice is the server, the CLI and the demo in one binary.
package main

import (
	"os"

	"sluice.dev/sluice/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
