#include "parallel/mesh.h"

#include "parallel/world.h"

namespace elastron::parallel {

// Each split is keyed by the rank in the world, so that the order within a group is the order of
// the coordinate that varies in it (data before context in the grad group).
Mesh::Mesh(World& world, const MeshLayout& layout, CollectiveBackend* backend)
    : layout_(layout), coordinates_(layout.coordinates(world.rank() % layout.ranks())) {
  ELASTRON_CHECK(layout.ranks() == world.size(), "the layout is not of this world's size");
  const auto group = [&](int color, const char* axis) {
    auto host = world.split(color, world.rank(), axis);
    return backend == nullptr ? std::move(host) : backend->over(std::move(host));
  };
  const auto [data, context, tensor] = coordinates_;
  world_ = group(0, "world");
  data_ = group(context * layout.tensor + tensor, "data");
  context_ = group(data * layout.tensor + tensor, "context");
  tensor_ = group(data * layout.context + context, "tensor");
  grad_ = group(tensor, "grad");
}

Mesh Mesh::single() {
  Mesh mesh;
  mesh.world_ = std::make_unique<SelfCommunicator>("world");
  mesh.data_ = std::make_unique<SelfCommunicator>("data");
  mesh.context_ = std::make_unique<SelfCommunicator>("context");
  mesh.tensor_ = std::make_unique<SelfCommunicator>("tensor");
  mesh.grad_ = std::make_unique<SelfCommunicator>("grad");
  return mesh;
}

Mesh Mesh::recording(const MeshLayout& layout, const MeshCoordinates& me, CollectiveLog& log) {
  const auto axis = [&log](const char* name, int rank, int size) -> std::unique_ptr<Communicator> {
    if (size == 1) return std::make_unique<SelfCommunicator>(name);
    return std::make_unique<RecordingCommunicator>(name, rank, size, log);
  };
  Mesh mesh;
  mesh.layout_ = layout;
  mesh.coordinates_ = me;
  mesh.world_ = axis("world", layout.rank(me), layout.ranks());
  mesh.data_ = axis("data", me.data, layout.data);
  mesh.context_ = axis("context", me.context, layout.context);
  mesh.tensor_ = axis("tensor", me.tensor, layout.tensor);
  mesh.grad_ = axis("grad", me.data * layout.context + me.context, layout.data * layout.context);
  return mesh;
}

Mesh::Mesh(Mesh&&) noexcept = default;
Mesh::~Mesh() = default;

}  // namespace elastron::parallel
