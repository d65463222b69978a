#include "ops/cpu/amx.h"

#if defined(ELASTRON_AMX)

#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>

namespace elastron::ops::cpu {

namespace {

constexpr int kPalette = 1, kTiles = 8, kRows = 16, kRowBytes = 64;
// What Linux' arch_prctl(2) calls ARCH_REQ_XCOMP_PERM, for the state of the tiles' data.
constexpr int kRequestPermission = 0x1023, kTileData = 18;

struct alignas(64) TileConfiguration {
  uint8_t palette = kPalette, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

constexpr TileConfiguration whole_tiles() {
  TileConfiguration all;
  for (int t = 0; t < kTiles; ++t) {
    all.row_bytes[t] = kRowBytes;
    all.rows[t] = kRows;
  }
  return all;
}
// In memory: GCC 12 takes the instruction to read but the first bytes, and leaves out stores to the
// others.
constinit TileConfiguration kWholeTiles = whole_tiles();

// What oneDNN is told holds for us too: ONEDNN_MAX_CPU_ISA without AMX in its name.
bool is_forbidden() {
  const char* most = std::getenv("ONEDNN_MAX_CPU_ISA");
  const std::string_view name = most == nullptr ? "ALL" : most;
  return name != "ALL" && name != "DEFAULT" && name.find("AMX") == name.npos;
}

}  // namespace

bool has_amx() {
  static const bool permitted = !is_forbidden() && __builtin_cpu_supports("avx512bw") != 0 &&
                                __builtin_cpu_supports("avx512bf16") != 0 &&
                                syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return permitted;
}

AmxTiles::AmxTiles() { _tile_loadconfig(&kWholeTiles); }

}  // namespace elastron::ops::cpu

#endif
