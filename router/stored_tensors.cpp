#include "router/stored_tensors.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "core/misfits.h"
#include "ops/elementwise.h"
#include "router/attention_router.h"
#include "router/static_mask.h"

namespace elastron::router {

namespace {

constexpr const char* kRemedy = "use the files of one trained router";
constexpr int64_t kMostLayers = 4096;

// A tensor to be read.
struct Wanted {
  std::string stored, logical;
  const SafetensorsFile* file;
  Shape shape;  // ours
};

class Reader {
 public:
  Reader(const TensorHomes& homes, const RouterNaming& naming, int64_t tasks,
         const std::string& where, StoredRouter& router, Device& device)
      : homes_(homes),
        naming_(naming),
        tasks_(tasks),
        where_(where),
        router_(router),
        device_(device) {}

  void read() {
    find_layers();
    infer_shape();
    want_layers();
    want_multipliers();
    raise();
    for (const Wanted& w : wanted_) read(w);
    raise();
  }

 private:
  void raise() const { misfits_.throw_if_any("not the tensors of a router", where_, kRemedy); }

  const SafetensorsEntry* entry(const std::string& stored) const {
    const auto it = homes_.find(stored);
    return it == homes_.end() ? nullptr : &it->second->entries().at(stored);
  }

  void find_layers() {
    std::set<int64_t> layers;
    for (const auto& [name, file] : homes_) {
      const auto place = naming_.place(name);
      if (place && place->layer < kMostLayers && naming_.ours(place->leaf)) {
        layers.insert(place->layer);
      } else if (place ||
                 (!naming_.others_allowed && name != naming_.lambda1 && name != naming_.lambda2)) {
        misfits_.of("unexpected").push_back(name);
      }
    }
    if (layers.empty()) {
      throw InputError(
          "the file has no router: no tensor " + naming_.stored(0, naming_.leaves[0].first), where_,
          kRemedy);
    }
    layers_ = *layers.rbegin() + 1;
  }

  // Static masks have one tensor per layer.
  bool infer_mask() {
    const std::string stored = naming_.stored(0, StaticMask::kLeaf);
    const SafetensorsEntry* e = entry(stored);
    const auto place = naming_.place(stored);
    if (e == nullptr || !place || !naming_.ours(place->leaf)) return false;
    if (e->shape.rank() != 1 || e->shape[0] < 1) {
      misfits_.of("misshapen").push_back(stored + " is " + e->shape.str());
      raise();
    }
    leaves_ = {{StaticMask::kLeaf, e->shape}};
    router_.config.kind = Kind::static_l0;
    return true;
  }

  // Widths and classes, from the first and last weight of layer 0 and the one that reads the task
  // MLP. Without them nothing else can be checked; without the latter what it lacks is listed.
  void infer_shape() {
    if (infer_mask()) return;
    const std::string names[] = {naming_.stored(0, "task.0.weight"),
                                 naming_.stored(0, "router.0.weight"),
                                 naming_.stored(0, "router.4.weight")};
    const Shape first = matrix(names[0]), last = matrix(names[2]);
    const bool whole = entry(names[1]) != nullptr;
    const Shape own = whole ? matrix(names[1]) : first;
    if (first.rank() != 2 || own.rank() != 2 || last.rank() != 2) raise();
    head_dim_ = first[1];
    const auto size = [&](size_t i, const Shape& shape, int dim) {
      if (shape[dim] % head_dim_ == 0) return shape[dim] / head_dim_;
      misfits_.of("misshapen")
          .push_back(names[i] + " is " + shape.str() + ", which is no multiple of the head's " +
                     std::to_string(head_dim_));
      return int64_t(0);
    };
    RouterConfig& config = router_.config;
    config.task_widths = {size(0, first, 0), size(1, own, 1)};
    config.widths = {size(1, own, 0), size(2, last, 1)};
    if (last[0] > 2) {
      misfits_.of("misshapen")
          .push_back(names[2] + " is " + last.str() + ", a router has one or two outputs");
    }
    for (const auto* widths : {&config.task_widths, &config.widths}) {
      if (std::ranges::count(*widths, 0) > 0) raise();
    }
    if (last[0] > 2) raise();
    config.kind = last[0] == 2 ? Kind::softmax : Kind::sigmoid;
    leaves_ = router_tensors(head_dim_, tasks_, config);
  }
  // Its shape, or none with the misfit noted.
  Shape matrix(const std::string& stored) {
    const SafetensorsEntry* e = entry(stored);
    if (e == nullptr) {
      misfits_.of("missing").push_back(stored);
    } else if (e->shape.rank() != 2 || e->shape[0] < 1 || e->shape[1] < 1) {
      misfits_.of("misshapen").push_back(stored + " is " + e->shape.str());
    } else {
      return e->shape;
    }
    return {};
  }

  // `also`: another shape that the file may have.
  void want(const std::string& stored, const std::string& logical, const Shape& shape,
            const std::optional<Shape>& also = {}) {
    const SafetensorsEntry* e = entry(stored);
    if (e == nullptr) {
      misfits_.of("missing").push_back(stored);
    } else if (!(e->shape == shape) && !(also && e->shape == *also)) {
      misfits_.of("misshapen")
          .push_back(stored + " is " + e->shape.str() + " in place of " + shape.str());
    } else if (!is_floating(e->storage)) {
      misfits_.of("not floating-point:").push_back(stored + " is " + storage_name(e->storage));
    } else {
      wanted_.push_back({stored, logical, homes_.at(stored), shape});
    }
  }

  void want_layers() {
    // Nothing is made in these sizes before all of them are right.
    std::set<std::string> known;
    for (int64_t layer = 0; layer < layers_; ++layer) {
      for (const auto& [leaf, shape] : leaves_) {
        std::optional<Shape> also;
        if (naming_.reference_shapes && leaf == "task_embedding.weight") {
          also = Shape{tasks_ - 1, head_dim_};
        } else if (naming_.reference_shapes && leaf == "log_tau") {
          also = Shape{};
        }
        known.insert(leaf);
        want(naming_.stored(layer, leaf), logical_naming().stored(layer, leaf), shape, also);
      }
    }
    for (const auto& [name, file] : homes_) {
      const auto place = naming_.place(name);
      const auto ours = place ? naming_.ours(place->leaf) : std::nullopt;
      const bool passed_over = naming_.reference_shapes && ours == "log_tau";
      if (ours && !known.contains(*ours) && !passed_over) {
        misfits_.of("unexpected").push_back(name);
      }
    }
  }

  void want_multipliers() {
    if (!homes_.contains(naming_.lambda1) && !homes_.contains(naming_.lambda2)) return;
    want(naming_.lambda1, logical_naming().lambda1, {tasks_});
    want(naming_.lambda2, logical_naming().lambda2, {tasks_});
  }

  void read(const Wanted& w) {
    const Shape& stored = entry(w.stored)->shape;
    Tensor values = Tensor::zeros(w.shape, DType::f32, device_);
    Tensor part = values;
    if (stored.rank() == 0) {
      part = values.view(stored);
    } else if (stored[0] < w.shape[0]) {
      part = values.slice(0, 0, stored[0]);
    }
    w.file->read(w.stored, stored, {}, part);
    if (!ops::all_finite(values)) misfits_.of("not finite:").push_back(w.stored);
    router_.tensors[w.logical] = values;
  }

  const TensorHomes& homes_;
  const RouterNaming& naming_;
  int64_t tasks_;
  const std::string& where_;
  StoredRouter& router_;
  Device& device_;
  Misfits misfits_;
  int64_t layers_ = 0, head_dim_ = 0;
  std::vector<RouterTensor> leaves_;  // of a layer
  std::vector<Wanted> wanted_;
};

}  // namespace

std::string RouterNaming::stored(int64_t layer, const std::string& leaf) const {
  std::string name = leaf;
  for (const auto& [ours, theirs] : leaves) {
    if (ours == leaf) name = theirs;
  }
  return prefix + std::to_string(layer) + infix + name;
}

std::optional<RouterNaming::Place> RouterNaming::place(const std::string& name) const {
  if (!name.starts_with(prefix)) return {};
  int64_t layer = -1;
  const char* end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + prefix.size(), end, layer);
  const std::string_view rest(stop, size_t(end - stop));
  if (error != std::errc() || layer < 0 || !rest.starts_with(infix)) return {};
  Place place{layer, std::string(rest.substr(infix.size()))};
  // One spelling per layer: no "007".
  if (prefix + std::to_string(layer) + infix + place.leaf != name) return {};
  return place;
}

std::optional<std::string> RouterNaming::ours(const std::string& leaf) const {
  for (const auto& [logical, theirs] : leaves) {
    if (theirs == leaf) return logical;
  }
  return {};
}

const RouterNaming& logical_naming() {
  static const RouterNaming naming = [] {
    RouterNaming n{.prefix = "router.layers.",
                   .infix = ".",
                   .leaves = {},
                   .lambda1 = "objective.lambda1",
                   .lambda2 = "objective.lambda2"};
    RouterConfig every_option;
    every_option.task_embedding = true;
    every_option.tau_schedule = TauSchedule::learned;
    for (const auto& [leaf, shape] : router_tensors(1, 1, every_option)) {
      n.leaves.emplace_back(leaf, leaf);
    }
    n.leaves.emplace_back(StaticMask::kLeaf, StaticMask::kLeaf);
    return n;
  }();
  return naming;
}

bool has_leaf(const TensorHomes& homes, const RouterNaming& naming, const std::string& leaf) {
  for (const auto& [name, file] : homes) {
    const auto place = naming.place(name);
    if (place && naming.ours(place->leaf) == leaf) return true;
  }
  return false;
}

bool same_network(const RouterConfig& a, const RouterConfig& b) {
  if (a.kind != b.kind) return false;
  return a.kind == Kind::static_l0 || (a.task_widths == b.task_widths && a.widths == b.widths);
}

void read_stored_tensors(const TensorHomes& homes, const RouterNaming& naming, int64_t tasks,
                         const std::string& where, StoredRouter& router, Device& device) {
  Reader(homes, naming, tasks, where, router, device).read();
}

}  // namespace elastron::router
