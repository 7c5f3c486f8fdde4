// Package integration tests snapfs from outside: the real program, real kernel mounts
// in processes of their own, a real S3 server, processes that are really killed.
package integration
