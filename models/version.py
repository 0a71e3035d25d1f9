"""The version of Striate and of its HTTP API; CONTRIBUTING.md says what it promises."""

VERSION = "0.2.0"
