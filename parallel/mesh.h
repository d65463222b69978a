// Ranks arranged as data x context x tensor, tensor fastest. Owns a communicator per axis.
#pragma once
#include <memory>

#include "parallel/collective_backend.h"
#include "parallel/communicator.h"
#include "parallel/mesh_layout.h"
#include "parallel/recording.h"

namespace elastron::parallel {

class World;  // parallel/world.h: MPI's lifetime; the only source of MPI communicators

class Mesh {
 public:
  // Collective over the world. layout.ranks() must equal the world's size (MeshLayout::resolve sees
  // to it). The world must outlive the mesh, and so must the backend of the device's collectives,
  // if there is one.
  Mesh(World& world, const MeshLayout& layout, CollectiveBackend* backend = nullptr);
  // One rank, no MPI: tests and tools.
  static Mesh single();
  // Notes what one rank of `layout` would send, without ranks. `log` must outlive the mesh.
  static Mesh recording(const MeshLayout& layout, const MeshCoordinates& me, CollectiveLog& log);
  Mesh(Mesh&&) noexcept;
  ~Mesh();

  const MeshLayout& layout() const { return layout_; }
  MeshCoordinates coordinates() const { return coordinates_; }
  Communicator& world() const { return *world_; }
  Communicator& data() const { return *data_; }        // same context and tensor coordinates
  Communicator& context() const { return *context_; }  // same data and tensor coordinates
  Communicator& tensor() const { return *tensor_; }    // same data and context coordinates
  // Data x context, same tensor coordinate: who sums gradients.
  Communicator& grad() const { return *grad_; }

 private:
  Mesh() = default;
  MeshLayout layout_;
  MeshCoordinates coordinates_;
  std::unique_ptr<Communicator> world_, data_, context_, tensor_, grad_;
};

}  // namespace elastron::parallel
