package memstore_test

import (
	"testing"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/blobstore/memstore"
	"github.com/snapfs/snapfs/blobstore/storetest"
)

func TestContract(t *testing.T) {
	storetest.Run(t, func(*testing.T) blobstore.Store { return memstore.New() })
}
