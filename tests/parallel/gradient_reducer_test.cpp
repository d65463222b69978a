// Gradient sums and the global norm, on every layout of the ranks at hand.
#include "parallel/gradient_reducer.h"

#include "parallel/shard.h"
#include "tests/parallel/support.h"

namespace elastron::parallel {
namespace {

// Parameters of the three kinds: split, replicated with equal gradients over the tensor group,
// replicated with partial ones. Logical gradients are a function of the data rank and the name, so
// that what must come out is the same on every layout with as many data ranks.
struct Model {
  std::vector<std::unique_ptr<Parameter>> parameters;
  ParameterList list;

  Model(const Mesh& mesh, int64_t width, Device& device) {
    const auto add = [&](const std::string& name, const Shape& shape, const Partition& partition,
                         bool trainable = true) -> Parameter& {
      parameters.push_back(std::make_unique<Parameter>(
          make_sharded_weight(name, shape, partition, DType::f32, trainable, device)));
      list.push_back(parameters.back().get());
      return *parameters.back();
    };
    const int t = mesh.tensor().rank(), n = mesh.tensor().size();
    for (int layer = 0; layer < 3; ++layer) {
      const std::string prefix = "layer" + std::to_string(layer);
      add(prefix + ".column", {width, 5}, even_partition(0, width, t, n, "column"));
      add(prefix + ".row", {5, width}, even_partition(1, width, t, n, "row"));
      add(prefix + ".norm", {5}, {});
      add(prefix + ".frozen", {7}, {}, false);
      add(prefix + ".router", {3, 3}, {}).gradient_partial_over_tensor = true;
    }
    add("vocab", {n + 2, 3}, ceil_partition(0, n + 2, t, n));
  }
};

double logical_gradient(const Parameter& p, int grad_rank, int64_t element) {
  const auto name = double(std::hash<std::string>{}(p.name) % 97) / 97;
  return std::sin(name * 12 + double(grad_rank) * 3 + double(element));
}

// Fills each gradient with this rank's part, and returns what the sum should be.
void fill(Model& model, const Mesh& mesh) {
  const int grad_rank = mesh.grad().rank(), n = mesh.tensor().size(), t = mesh.tensor().rank();
  for (Parameter* p : model.list) {
    if (!p->trainable) continue;
    const Shape shape = local_shape(*p);
    std::vector<float> values;
    for (int64_t i = 0; i < shape.numel(); ++i) {
      int64_t element = i;
      if (p->partition.dim == 0) element += p->partition.offset * p->logical_shape[1];
      if (p->partition.dim == 1) {
        element = i / shape[1] * p->logical_shape[1] + p->partition.offset + i % shape[1];
      }
      double value = logical_gradient(*p, grad_rank, element);
      // Parts over the tensor group that add up to it, of very different sizes.
      if (p->gradient_partial_over_tensor && n > 1) {
        value = t == 0 ? value - 0.5 * double(n - 1) : 0.5;
      }
      values.push_back(float(value));
    }
    p->grad.copy_from(Tensor::from(values, shape, p->grad.device()));
  }
}

void expect_sums(const Model& model, const Mesh& mesh) {
  for (const Parameter* p : model.list) {
    if (!p->trainable) {
      EXPECT_FALSE(p->grad.defined());
      continue;
    }
    const Shape shape = local_shape(*p);
    const auto values = values_of(p->grad);
    for (int64_t i = 0; i < shape.numel(); ++i) {
      int64_t element = i;
      if (p->partition.dim == 0) element += p->partition.offset * p->logical_shape[1];
      if (p->partition.dim == 1) {
        element = i / shape[1] * p->logical_shape[1] + p->partition.offset + i % shape[1];
      }
      double expected = 0;
      for (int r = 0; r < mesh.grad().size(); ++r) expected += logical_gradient(*p, r, element);
      ASSERT_NEAR(values[size_t(i)], expected, 2e-5) << p->name << " " << i;
    }
    expect_same_bits(p->grad, mesh.grad());
    if (p->partition.replicated()) expect_same_bits(p->grad, mesh.world());
  }
}

class Reducer : public WorldTest {
 protected:
  template <class F>
  void for_each_layout(F&& f) {
    for (const MeshLayout& layout : all_layouts(world.size())) {
      SCOPED_TRACE(std::to_string(layout.data) + "x" + std::to_string(layout.context) + "x" +
                   std::to_string(layout.tensor));
      Mesh mesh(world, layout);
      f(mesh);
    }
  }
  int64_t width() const { return 12 * world.size(); }
};

TEST_F(Reducer, SumsOverTheGradAxisWhateverTheBuckets) {
  for_each_layout([&](Mesh& mesh) {
    // A bucket for each parameter, a few, and one for all.
    for (const int64_t bytes : {int64_t(1), int64_t(600), kDefaultBucketBytes}) {
      SCOPED_TRACE(bytes);
      Model model(mesh, width(), device);
      GradientReducer reducer(model.list, mesh, bytes);
      if (bytes == 1) {
        // An empty shard fills no bucket.
        EXPECT_EQ(reducer.buckets(), model.list.back()->grad.numel() > 0 ? 13 : 12);
      }
      if (bytes == kDefaultBucketBytes) {
        EXPECT_EQ(reducer.buckets(), 2);
      }
      for (int step = 0; step < 2; ++step) {
        fill(model, mesh);
        for (size_t i = model.list.size(); i-- > 0;) {
          if (model.list[i]->trainable) reducer.ready(*model.list[i]);
        }
        reducer.finish();
        expect_sums(model, mesh);
      }
      reducer.zero();
      for (const Parameter* p : model.list) {
        if (!p->trainable) continue;
        for (const double v : values_of(p->grad)) ASSERT_EQ(v, 0);
      }
    }
  });
}

// Ranks may finish gradients in another order, or not mark some at all.
TEST_F(Reducer, TheOrderOfReadyDoesNotMatterAndMayDifferBetweenRanks) {
  for_each_layout([&](Mesh& mesh) {
    Model model(mesh, width(), device);
    GradientReducer reducer(model.list, mesh, 300);
    fill(model, mesh);
    std::vector<Parameter*> order;
    for (Parameter* p : model.list) {
      if (p->trainable) order.push_back(p);
    }
    std::shuffle(order.begin(), order.end(), std::mt19937_64(uint64_t(world.rank())));
    order.resize(order.size() - size_t(world.rank() % 3));
    for (const Parameter* p : order) reducer.ready(*p);
    reducer.finish();
    expect_sums(model, mesh);
  });
}

TEST_F(Reducer, TheFirstBucketsTravelBeforeTheLastGradientIsThere) {
  CollectiveLog log;
  Mesh mesh = Mesh::recording({.data = 4, .context = 1, .tensor = 2}, {}, log);
  Model model(mesh, 24, device);
  GradientReducer reducer(model.list, mesh, 1);
  const auto last_first = [&](size_t i) -> const Parameter& {
    size_t left = i;
    for (size_t j = model.list.size(); j-- > 0;) {
      if (model.list[j]->trainable && left-- == 0) return *model.list[j];
    }
    throw LogicError("no such parameter");
  };
  reducer.ready(last_first(1));
  EXPECT_TRUE(log.empty());  // the bucket before it is not complete
  reducer.ready(last_first(0));
  ASSERT_EQ(log.size(), 2u);
  EXPECT_EQ(log[0].axis, "grad");
  EXPECT_EQ(log[1].axis, "world");  // partial over the tensor group
  reducer.finish();
  EXPECT_EQ(log.size(), size_t(reducer.buckets()));
}

TEST_F(Reducer, ValuesSurviveTheMoveIntoTheBuckets) {
  Mesh mesh = Mesh::single();
  Model model(mesh, 12, device);
  fill(model, mesh);
  std::vector<std::vector<double>> before;
  for (const Parameter* p : model.list) {
    if (p->trainable) before.push_back(values_of(p->grad));
  }
  const GradientReducer reducer(model.list, mesh);
  size_t i = 0;
  for (const Parameter* p : model.list) {
    if (!p->trainable) continue;
    EXPECT_EQ(values_of(p->grad), before[i++]);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(p->grad.raw()) % 64, 0u);
  }
}

TEST_F(Reducer, TheNormCountsEachLogicalElementOnce) {
  for_each_layout([&](Mesh& mesh) {
    Model model(mesh, width(), device);
    GradientReducer reducer(model.list, mesh, 500);
    fill(model, mesh);
    reducer.finish();
    double expected = 0;
    for (const Parameter* p : model.list) {
      if (!p->trainable) continue;
      for (int64_t i = 0; i < p->logical_shape.numel(); ++i) {
        double sum = 0;
        for (int r = 0; r < mesh.grad().size(); ++r) sum += logical_gradient(*p, r, i);
        expected += sum * sum;
      }
    }
    const double norm = reducer.norm();
    EXPECT_NEAR(norm, std::sqrt(expected), 1e-6 * std::sqrt(expected));
    std::string bits(sizeof norm, '\0');
    std::memcpy(bits.data(), &norm, sizeof norm);
    EXPECT_EQ(mesh.world().broadcast_host(bits, 0), bits);
  });
}

TEST_F(Reducer, ANonFiniteGradientOfOneRankIsSeenByAll) {
  for_each_layout([&](Mesh& mesh) {
    Model model(mesh, width(), device);
    GradientReducer reducer(model.list, mesh);
    fill(model, mesh);
    if (world.rank() == world.size() - 1) {
      model.list[0]->grad.data<float>()[0] = std::numeric_limits<float>::quiet_NaN();
    }
    reducer.finish();
    EXPECT_TRUE(std::isnan(reducer.norm()));
  });
}

TEST_F(Reducer, MistakesOfTheCaller) {
  Mesh mesh = Mesh::single();
  Model model(mesh, 12, device);
  GradientReducer reducer(model.list, mesh);
  const Parameter stranger;
  EXPECT_THROW(reducer.ready(stranger), LogicError);
  EXPECT_THROW(reducer.ready(*model.list[3]), LogicError);  // frozen
  reducer.ready(*model.list[0]);
  EXPECT_THROW(reducer.ready(*model.list[0]), LogicError);
  ParameterList twice = {model.list[0], model.list[0]};
  EXPECT_THROW(GradientReducer(twice, mesh), LogicError);
}

}  // namespace
}  // namespace elastron::parallel
