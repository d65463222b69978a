// Whether weights that do not train are still, byte for byte, what they were at the start. Nothing
// should ever write to them; a fault of the memory, of a library or of this program may.
#pragma once
#include <string>
#include <vector>

#include "core/parameter.h"

namespace elastron::train {

class FrozenWeights {
 public:
  // Takes the checksums of those of `parameters` that do not train, on this rank. The parameters
  // must outlive it.
  explicit FrozenWeights(const ParameterList& parameters);

  // Throws NumericalError naming the first that is not what it was; `rank` is for the message.
  void check(int rank) const;

 private:
  ParameterList parameters_;
  std::vector<std::string> checksums_;
};

}  // namespace elastron::train
