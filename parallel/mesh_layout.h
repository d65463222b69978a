// Rank arithmetic, without MPI in sight.
#pragma once
#include <cstdint>

namespace elastron::parallel {

struct MeshCoordinates {
  int data = 0, context = 0, tensor = 0;
  bool operator==(const MeshCoordinates&) const = default;
};

struct MeshLayout {
  int data = 1, context = 1, tensor = 1;

  int ranks() const { return data * context * tensor; }
  MeshCoordinates coordinates(int rank) const;
  int rank(const MeshCoordinates& c) const;
  bool operator==(const MeshLayout&) const = default;

  // data <= 0 means "what is left of world_size". Throws UsageError naming parallel.* keys and the
  // factorisations that would work.
  static MeshLayout resolve(int world_size, int data, int context, int tensor);
};

}  // namespace elastron::parallel
