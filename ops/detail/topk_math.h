// The order of scores that the devices share (ops/topk.h).
#pragma once
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/host_device.h"

namespace elastron::ops::detail {

// Unsigned integers in the order of the scores; both zeros are one. Whole numbers compare the same
// everywhere, a NaN's too.
template <class T>
using order_key_t = std::conditional_t<sizeof(T) == sizeof(uint64_t), uint64_t, uint32_t>;
template <class T>
ELASTRON_HD inline order_key_t<T> order_key(T score) {
  using Key = order_key_t<T>;
  const T one_zero = score + T(0);
  Key bits;
  memcpy(&bits, &one_zero, sizeof bits);
  constexpr Key kSign = Key(1) << (8 * sizeof(Key) - 1);
  return (bits & kSign) != 0 ? Key(~bits) : Key(bits | kSign);
}

}  // namespace elastron::ops::detail
