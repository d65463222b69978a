// Which processors' instructions the CPU kernels of this process use (cmake/ElastronVariants.cmake).
#pragma once
#include <string_view>

namespace elastron::ops::cpu {

// "avx2", "avx512" or "avx512_bf16" (with tile registers where the system lets it), as the processor
// has them and ONEDNN_MAX_CPU_ISA allows; "native" of a build for one machine. The same from the
// start of main() on.
std::string_view variant();

}  // namespace elastron::ops::cpu
