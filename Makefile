# Adze. On a fresh machine (Swift 6.3, Debian) two of these do everything:
#
#   make demo     install what is missing, build, quantize the embedded model, show what it cost and gained
#   make test     the same, then the tests
#
#   make build    release build of the command line
#   make lint     swift format, strict
#   make bench    speed of the kernels and of the embedded model; PEER_BENCH=.../llama-bench PEER_MODEL=x.gguf MODEL=y.adze
#                 runs a peer in turn with it and reports the ratios
#   make conformance
#                 try the formats against the tools that own them and write the table in Tests/Conformance/README.md and its
#                 summary in README.md;
#                 installs them from PyPI unless PYTHON=... has them; ADZE=... tries another program
#   make bless    rewrite the expected output of the graph pass cases, and the tables of Sources/Architectures/FAMILIES.md
#                 and Sources/GraphPasses/README.md
#   make clean    remove build products

SWIFT ?= swift
BUILD := $(SWIFT) build -c release
ADZE := .build/release/adze

.PHONY: demo test build lint bench conformance bless clean dependencies

demo: build
	@Tools/demo.sh $(ADZE)

# Built first and then run without building: `swift test` alone would build everything anew with other flags.
test: dependencies
	$(BUILD) --build-tests
	$(SWIFT) test -c release --skip-build

build: dependencies
	$(BUILD) --product adze

dependencies:
	@Tools/install-dependencies.sh

lint:
	$(SWIFT) format lint --strict --parallel --recursive Package.swift Sources Formats Calibration Tests

bench: build
	@Tools/bench.sh $(ADZE)

conformance: dependencies
	@Tools/conformance.sh --table Tests/Conformance/README.md --digest README.md

bless: dependencies
	$(BUILD) --build-tests
	BLESS=1 $(SWIFT) test -c release --skip-build --filter "GraphPassesTests|PipelineTests.FamilyTests|PassTableTests"

clean:
	rm -rf .build demo-output
