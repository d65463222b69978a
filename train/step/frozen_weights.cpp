#include "train/step/frozen_weights.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/file/checksum.h"

namespace elastron::train {

namespace {

std::string digest(const Tensor& t) {
  const Tensor host = t.on_host();
  return checksum(std::span(static_cast<const std::byte*>(host.raw()), host.bytes()));
}

std::string digest(const Parameter& p) {
  return digest(p.value) + (p.scale.defined() ? digest(p.scale.values) : "");
}

}  // namespace

FrozenWeights::FrozenWeights(const ParameterList& parameters) {
  for (Parameter* p : parameters) {
    if (p->trainable) continue;
    parameters_.push_back(p);
    checksums_.push_back(digest(*p));
  }
}

void FrozenWeights::check(int rank) const {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (digest(*parameters_[i]) == checksums_[i]) continue;
    throw NumericalError(parameters_[i]->name + " changed in memory, but does not train",
                         fmt::format("rank {}", rank),
                         "check the machine's memory; resume from the last checkpoint");
  }
}

}  // namespace elastron::train
