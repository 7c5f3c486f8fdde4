package blobstore_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/snapfs/snapfs/blobstore"
)

func TestParseURL(t *testing.T) {
	const arn = "arn:aws:s3:us-west-2:123456789012:accesspoint/mine"
	for in, want := range map[string]blobstore.Location{
		"/abs/dir":                    {Path: "/abs/dir"},
		"/abs//dir/":                  {Path: "/abs/dir"},
		"relative/dir":                {Path: "relative/dir"},
		"a:b":                         {Path: "a:b"},
		"./s3:bucket":                 {Path: "s3:bucket"},
		"file:///abs/my%20dir":        {Path: "/abs/my dir"},
		"file://localhost/abs":        {Path: "/abs"},
		"FILE:///abs":                 {Path: "/abs"},
		"s3://bucket":                 {Bucket: "bucket"},
		"s3://bucket/":                {Bucket: "bucket"},
		"S3://bucket/a/b":             {Bucket: "bucket", Prefix: "a/b"},
		"s3://bucket//a/":             {Bucket: "bucket", Prefix: "a"},
		"s3://bucket/100%/ü":          {Bucket: "bucket", Prefix: "100%/ü"},
		"s3://" + arn:                 {Bucket: arn},
		"s3://" + arn + "/Data":       {Bucket: arn, Prefix: "Data"},
		"s3://bucket?path-style=1":    {Bucket: "bucket", PathStyle: true},
		"s3://bucket?path-style=0":    {Bucket: "bucket"},
		"s3://bucket/p?region=eu-1":   {Bucket: "bucket", Prefix: "p", Region: "eu-1"},
		"s3://old_Bucket.x/p":         {Bucket: "old_Bucket.x", Prefix: "p"},
		"s3://bkt?owner=123456789012": {Bucket: "bkt", Owner: "123456789012"},
		"s3://bkt/p?endpoint=http://127.0.0.1:7070&region=us-east-1&path-style=true": {
			Bucket: "bkt", Prefix: "p", Endpoint: "http://127.0.0.1:7070", Region: "us-east-1", PathStyle: true},
	} {
		got, err := blobstore.ParseURL(in)
		if err != nil {
			t.Errorf("ParseURL(%q): %v", in, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("ParseURL(%q) (-want +got):\n%s", in, diff)
		}
		if again, err := blobstore.ParseURL(got.String()); got.IsS3() && (err != nil || again != got) {
			t.Errorf("%q is written as %q, which is parsed as %+v, %v", in, got, again, err)
		}
	}
}

func TestParseURLErrors(t *testing.T) {
	for in, want := range map[string]string{
		"":                                "not a path",
		"a\x00b":                          "not a path",
		"gs://bucket":                     `unknown scheme "gs"`,
		"s3:bucket/x":                     "write s3://bucket/x",
		"s3:/bucket/x":                    "write s3://bucket/x",
		"s3://":                           "bucket is missing",
		"s3:///prefix":                    "bucket is missing",
		"s3://?region=x":                  "bucket is missing",
		"s3://ab":                         "not the name of a bucket",
		"s3://my bucket/x":                "not the name of a bucket",
		"s3://AKIA:secret@bucket/x":       "credentials come from the AWS environment",
		"s3://localhost:9000/bucket":      "a server from the parameter endpoint",
		"s3://arn:aws:s3/x":               "not the ARN of an access point",
		"s3://bucket/a/../b":              `must not contain ".."`,
		"s3://bucket?regoin=x":            `unknown parameter "regoin": did you mean "region"?`,
		"s3://bucket?pathstyle=1":         `did you mean "path-style"?`,
		"s3://bucket?color=red":           "there are endpoint, owner, path-style, region",
		"s3://bucket?region=a&region=b":   "given 2 times",
		"s3://bucket?path-style=maybe":    "must be 1 or 0",
		"s3://bucket?owner=me":            "12-digit account",
		"s3://bucket?endpoint=host:9000":  "https://host:port",
		"s3://bucket?endpoint=http://a@b": "https://host:port",
		"s3://bucket?region=%zz":          "parameters",
		"file:rel":                        "file:///absolute/path",
		"file://rel/dir":                  "write file:///rel/dir",
		"file:///a?b":                     "no parameters",
		"file:///%zz":                     "invalid URL escape",
	} {
		_, err := blobstore.ParseURL(in)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseURL(%q) = %v, want an error that says %q", in, err, want)
		}
	}
}
