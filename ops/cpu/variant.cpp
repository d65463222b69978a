#include "ops/cpu/variant.h"

#include <algorithm>
#include <cstdlib>

#if defined(ELASTRON_CPU_VARIANTS)
// cmake/link_variants.sh
extern "C" void elastron_take_variant(int row);
extern "C" void elastron_choose_variant();
#endif

namespace elastron::ops::cpu {

#if defined(ELASTRON_CPU_VARIANTS)

namespace {

constexpr std::string_view kVariants[] = {"avx2", "avx512", "avx512_bf16"};

// oneDNN's words for what it may use hold for us too.
int most_allowed() {
  const char* const most = std::getenv("ONEDNN_MAX_CPU_ISA");
  const std::string_view name = most == nullptr ? "ALL" : most;
  if (name == "ALL" || name == "DEFAULT") return 2;
  if (!name.starts_with("AVX512")) return 0;
  for (const std::string_view newer : {"BF16", "FP16", "AMX"}) {
    if (name.find(newer) != name.npos) return 2;
  }
  return 1;
}

int best_of_machine() {
  __builtin_cpu_init();
  const bool avx512 =
      __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
      __builtin_cpu_supports("avx512cd") != 0 && __builtin_cpu_supports("avx512dq") != 0 &&
      __builtin_cpu_supports("avx512vl") != 0;
  if (!avx512) return 0;
  return __builtin_cpu_supports("avx512bf16") != 0 ? 2 : 1;
}

int taken = 0;

}  // namespace

std::string_view variant() { return kVariants[taken]; }

#else

std::string_view variant() { return "native"; }

#endif

}  // namespace elastron::ops::cpu

#if defined(ELASTRON_CPU_VARIANTS)
// Called before main(), and before there is another thread: the table of functions asks for it, so that no
// program is without.
extern "C" void elastron_choose_variant() {
  using namespace elastron::ops::cpu;
  taken = std::min(best_of_machine(), most_allowed());
  elastron_take_variant(taken);
}
#endif
