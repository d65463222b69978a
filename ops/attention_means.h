// What a device computes attention with: its own kernels, a library's, and who does full attention.
#pragma once
#include <cstdint>
#include <string>

#include "core/device.h"
#include "core/dtype.h"
#include "ops/attention/attention_kernels.h"
#include "ops/attention/expectations.h"
#include "ops/head_pattern.h"

namespace elastron::ops {

// "cuDNN 9.19.0" where the device has it; else nothing, and `why`.
std::string full_attention_library(Device& device, std::string& why);
bool has_full_attention_library(Device& device);
// On a GPU the same: what its library has no kernels for shows when a plan is asked for. On a meta
// device what that would show, of the forward or the backward pass.
bool may_have_library(Device& device, bool gradients);

// Calls of full attention that a run will make, of so many heads each.
struct FullAttentionQuestion {
  DType dtype = DType::bf16;
  int64_t q_heads = 0, kv_heads = 0, head_dim = 0;
  KeySetPair sets;
  int64_t longest = 0;    // keys of the longest sequence
  bool own_keys = false;  // Varlen::cu_keys
  FullAttentionBy by = FullAttentionBy::automatic;
};
// Which of them the device's library computes; the others are for our own kernels, and `why`.
struct FullAttentionWay {
  bool forward = false, backward = false;
  int64_t from = 0;  // keys of a batch's longest sequence
  std::string why;
};
FullAttentionWay full_attention_way(Device& device, const FullAttentionQuestion& question);
// What the device has for calls such as these: a plan of its steps expects it. Asks the library.
AttentionMeans attention_means(Device& device, const FullAttentionQuestion& question);

// Our own kernels for the device and `dtype`, in words; nothing on the CPU, which has one way.
std::string attention_kernels(Device& device, DType dtype);
// Whether this build lacks the kernels that the device would be fastest with: it was compiled for
// another architecture.
bool lacks_fast_kernels(Device& device);

}  // namespace elastron::ops
