// Rotation of one pair (Su et al., 2021), half-split layout.
#pragma once
#include "core/host_device.h"

namespace elastron::ops::detail {

template <class A>
struct Pair {
  A first, second;
};

template <class A>
ELASTRON_HD inline Pair<A> rotate(A first, A second, A cosine, A sine) {
  return {first * cosine - second * sine, second * cosine + first * sine};
}

}  // namespace elastron::ops::detail
