// A CUDA stream as a name only, so that headers need no toolkit.
#pragma once

struct CUstream_st;

namespace elastron::cuda {
using Stream = CUstream_st*;
}
