// The C interface between SystemTorch's C# and libtorch.
//
// One function, st_call, runs any ATen operator through its schema and the dispatcher's boxed calling convention, so that
// an operator needs no code here. The rest is what is not an operator: tensor lifetime, raw data, autograd, random state,
// threads and devices. Tensors cross as TensorImpl pointers that own one reference. Every function that can fail
// returns nonzero and leaves a message for st_error; no exception crosses the boundary in either direction.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/api/include/torch/cuda.h>
#include <torch/csrc/api/include/torch/version.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>
#include <torch/csrc/autograd/variable.h>

#include <dlfcn.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#define API extern "C" __attribute__((visibility("default")))

namespace {

using at::Tensor;
using at::TensorImpl;
using c10::IValue;
using torch::autograd::variable_list;

thread_local std::string last_error;

template <typename F>
int guarded(F&& body) {
  try {
    body();
    return 0;
  } catch (const c10::Error& e) {
    last_error = e.what_without_backtrace();
  } catch (const std::exception& e) {
    last_error = e.what();
  } catch (...) {
    last_error = "libtorch threw something that is not an exception";
  }
  return 1;
}

/// c10::optional before 2.x, std::optional after: whatever this libtorch's own interfaces take.
template <typename T>
using Optional = std::decay_t<decltype(std::declval<IValue>().toOptional<T>())>;

/// A new reference to the tensor that C# holds; the handle keeps its own.
Tensor borrow(TensorImpl* handle) {
  if (handle == nullptr) return Tensor();
  return Tensor(c10::intrusive_ptr<TensorImpl, c10::UndefinedTensorImpl>::reclaim_copy(handle));
}

/// Gives the tensor's reference away; an undefined tensor becomes null.
TensorImpl* give(Tensor tensor) {
  return tensor.defined() ? tensor.unsafeReleaseIntrusivePtr().release() : nullptr;
}

variable_list borrow_all(TensorImpl** handles, int count) {
  variable_list list;
  list.reserve(count);
  for (int i = 0; i < count; i++) list.push_back(borrow(handles[i]));
  return list;
}

enum Tag : int32_t { None, TensorTag, Int, Double, Bool, IntList, DoubleList, TensorList, String, Device, GeneratorTag, Complex, BoolList, Default };

/// An argument or a result. Lists, strings and complex numbers are behind the pointer in `bits`, `count` long.
struct Value {
  int32_t tag;
  int32_t count;
  int64_t bits;

  template <typename T>
  T* pointer() const { return reinterpret_cast<T*>(bits); }
  double as_double() const { double d; std::memcpy(&d, &bits, sizeof d); return d; }
};

/// What the schema says of one argument, as far as the conversion depends on it.
struct Parameter {
  bool wants_float = false;      // an integer given for a `float`
  bool optional_tensors = false; // `Tensor?[]`
  bool has_default = false;
  IValue default_value;
};

struct Operator {
  c10::OperatorHandle handle;
  std::vector<Parameter> parameters;
};

c10::TypePtr without_optional(const c10::TypePtr& type) {
  auto optional = type->cast<c10::OptionalType>();
  return optional ? optional->getElementType() : type;
}

IValue to_ivalue(const Value& v, const Parameter& parameter) {
  switch (v.tag) {
    case None: return IValue();
    case TensorTag: return IValue(borrow(v.pointer<TensorImpl>()));
    case Int: return parameter.wants_float ? IValue(static_cast<double>(v.bits)) : IValue(v.bits);
    case Double: return IValue(v.as_double());
    case Bool: return IValue(v.bits != 0);
    case IntList: {
      c10::List<int64_t> list;
      list.reserve(v.count);
      for (int i = 0; i < v.count; i++) list.push_back(v.pointer<int64_t>()[i]);
      return IValue(std::move(list));
    }
    case DoubleList: {
      c10::List<double> list;
      for (int i = 0; i < v.count; i++) list.push_back(v.pointer<double>()[i]);
      return IValue(std::move(list));
    }
    case BoolList: {
      c10::List<bool> list;
      for (int i = 0; i < v.count; i++) list.push_back(v.pointer<int64_t>()[i] != 0);
      return IValue(std::move(list));
    }
    case TensorList: {
      auto** handles = v.pointer<TensorImpl*>();
      if (parameter.optional_tensors) {
        c10::List<Optional<Tensor>> list;
        for (int i = 0; i < v.count; i++) list.push_back(handles[i] ? Optional<Tensor>(borrow(handles[i])) : Optional<Tensor>());
        return IValue(std::move(list));
      }
      c10::List<Tensor> list;
      list.reserve(v.count);
      for (int i = 0; i < v.count; i++) list.push_back(borrow(handles[i]));
      return IValue(std::move(list));
    }
    case String: return IValue(std::string(v.pointer<char>(), v.count));
    case Device: return IValue(c10::Device(static_cast<c10::DeviceType>(v.bits), static_cast<c10::DeviceIndex>(v.count)));
    case GeneratorTag: return IValue(*v.pointer<at::Generator>());
    case Complex: return IValue(c10::complex<double>(v.pointer<double>()[0], v.pointer<double>()[1]));
    case Default:
      TORCH_CHECK(parameter.has_default, "an argument without a default was left out");
      return parameter.default_value;
  }
  TORCH_CHECK(false, "unknown argument tag ", v.tag);
}

Value from_ivalue(IValue&& value) {
  if (value.isTensor()) return {TensorTag, 1, reinterpret_cast<int64_t>(give(std::move(value).toTensor()))};
  if (value.isTensorList()) {
    auto tensors = std::move(value).toTensorVector();
    auto** handles = static_cast<TensorImpl**>(std::malloc(sizeof(TensorImpl*) * (tensors.size() + 1)));
    for (size_t i = 0; i < tensors.size(); i++) handles[i] = give(std::move(tensors[i]));
    return {TensorList, static_cast<int32_t>(tensors.size()), reinterpret_cast<int64_t>(handles)};
  }
  if (value.isInt()) return {Int, 1, value.toInt()};
  if (value.isBool()) return {Bool, 1, value.toBool()};
  if (value.isDouble()) {
    Value result{Double, 1, 0};
    double d = value.toDouble();
    std::memcpy(&result.bits, &d, sizeof d);
    return result;
  }
  if (value.isNone()) return {None, 0, 0};
  TORCH_CHECK(false, "an operator returned a ", value.tagKind(), ", which has no counterpart in C#");
}

/// Calls back into C#: fills `results` with owned handles (or null), or returns nonzero after st_set_error.
using BackwardCallback = int (*)(void* context, void* node, TensorImpl** grads, int grad_count, TensorImpl** results, int result_count);
using ReleaseCallback = void (*)(void* context);

/// A node of the autograd graph whose backward is a C# function.
struct ManagedNode : torch::autograd::Node {
  void* context = nullptr;
  BackwardCallback backward = nullptr;
  ReleaseCallback release = nullptr;
  bool materialize = true;
  std::vector<torch::autograd::SavedVariable> saved;

  ~ManagedNode() override { release(context); }
  std::string name() const override { return "ManagedFunctionBackward"; }
  void release_variables() override { for (auto& s : saved) s.reset_data(); }

  variable_list apply(variable_list&& grads) override {
    std::vector<TensorImpl*> in(grads.size());
    for (size_t i = 0; i < grads.size(); i++) {
      if (materialize && !grads[i].defined()) grads[i] = input_metadata(i).zeros_like();
      in[i] = give(std::move(grads[i]));
    }
    std::vector<TensorImpl*> out(num_outputs());
    int failed = backward(context, this, in.data(), static_cast<int>(in.size()), out.data(), static_cast<int>(out.size()));
    variable_list results(out.size());
    for (size_t i = 0; i < out.size(); i++)
      if (out[i]) results[i] = Tensor(c10::intrusive_ptr<TensorImpl, c10::UndefinedTensorImpl>::reclaim(out[i]));
    if (failed) throw std::runtime_error(last_error);
    return results;
  }
};

void delete_managed_node(torch::autograd::Node* node) { torch::autograd::deleteNode(node); }

} // namespace

API const char* st_error() { return last_error.c_str(); }
API void st_set_error(const char* message) { last_error = message; }

/// Loads CUDA's part of libtorch where there is one: nothing here links to it, so that one source serves both.
API void st_init() { dlopen("libtorch_cuda.so", RTLD_LAZY | RTLD_GLOBAL); }
API const char* st_built_version() { return TORCH_VERSION; }
API const char* st_config() {
  static std::string text;
  text = at::show_config();
  return text.c_str();
}

// Operators

API int st_find_operator(const char* name, const char* overload, Operator** result) {
  return guarded([&] {
    auto handle = c10::Dispatcher::singleton().findSchemaOrThrow(name, overload);
    auto op = std::make_unique<Operator>(Operator{handle, {}});
    for (const auto& argument : handle.schema().arguments()) {
      Parameter p;
      auto type = without_optional(argument.type());
      p.wants_float = type->kind() == c10::TypeKind::FloatType;
      if (auto list = type->cast<c10::ListType>()) p.optional_tensors = list->getElementType()->kind() == c10::TypeKind::OptionalType;
      if (argument.default_value()) {
        p.has_default = true;
        p.default_value = *argument.default_value();
      }
      op->parameters.push_back(std::move(p));
    }
    *result = op.release();
  });
}

/// Runs `op` on positional arguments; what is left out at the end takes the schema's default. Results that don't fit into
/// `results` are dropped: in-place operators are called with a capacity of 0.
API int st_call(Operator* op, const Value* arguments, int count, Value* results, int capacity) {
  return guarded([&] {
    size_t total = op->parameters.size();
    TORCH_CHECK(static_cast<size_t>(count) <= total, op->handle.operator_name(), " takes ", total, " arguments, not ", count);
    // The last call's memory; a call inside this one (a C# backward) finds none and takes its own.
    static thread_local torch::jit::Stack spare;
    torch::jit::Stack stack = std::move(spare);
    stack.clear();
    stack.reserve(total);
    for (size_t i = 0; i < total; i++) stack.push_back(to_ivalue(i < static_cast<size_t>(count) ? arguments[i] : Value{Default, 0, 0}, op->parameters[i]));
    op->handle.callBoxed(&stack);
    for (int i = 0; i < capacity; i++) results[i] = static_cast<size_t>(i) < stack.size() ? from_ivalue(std::move(stack[i])) : Value{None, 0, 0};
    stack.clear();
    spare = std::move(stack);
  });
}

API void st_free(void* block) { std::free(block); }

// Tensors

API void st_tensor_free(TensorImpl* t) { c10::intrusive_ptr<TensorImpl, c10::UndefinedTensorImpl>::reclaim(t); }
API TensorImpl* st_tensor_alias(TensorImpl* t) { return give(borrow(t)); }
API TensorImpl* st_tensor_detach(TensorImpl* t) { return give(borrow(t).detach()); }
API int64_t st_tensor_dim(TensorImpl* t) { return t->dim(); }
API int64_t st_tensor_numel(TensorImpl* t) { return t->numel(); }
API int st_tensor_dtype(TensorImpl* t) { return static_cast<int>(c10::typeMetaToScalarType(t->dtype())); }
API int64_t st_tensor_itemsize(TensorImpl* t) { return static_cast<int64_t>(t->dtype().itemsize()); }
API void st_tensor_sizes(TensorImpl* t, int64_t* out) { for (auto s : t->sizes()) *out++ = s; }
API int st_tensor_strides(TensorImpl* t, int64_t* out) {
  return guarded([&] { for (auto s : t->strides()) *out++ = s; });
}
API void st_tensor_device(TensorImpl* t, int32_t* type, int32_t* index) {
  auto device = t->device();
  *type = static_cast<int32_t>(device.type());
  *index = device.index();
}
API int st_tensor_is_contiguous(TensorImpl* t) { return t->is_contiguous(); }
API int st_tensor_is_sparse(TensorImpl* t) { return t->is_sparse(); }
API int st_tensor_storage_offset(TensorImpl* t, int64_t* out) { return guarded([&] { *out = t->storage_offset(); }); }
API int st_tensor_data(TensorImpl* t, void** out) {
  return guarded([&] {
    // Such tensors' memory holds other numbers than the tensor does.
    TORCH_CHECK(!borrow(t).is_conj() && !borrow(t).is_neg(), "the elements are conjugated or negated lazily: resolve_conj() or resolve_neg() first");
    *out = borrow(t).data_ptr();
  });
}

// Autograd

API int st_tensor_requires_grad(TensorImpl* t) { return borrow(t).requires_grad(); }
API int st_tensor_set_requires_grad(TensorImpl* t, int on) { return guarded([&] { borrow(t).set_requires_grad(on != 0); }); }
API int st_tensor_is_leaf(TensorImpl* t) { return borrow(t).is_leaf(); }
API int st_tensor_retain_grad(TensorImpl* t) { return guarded([&] { borrow(t).retain_grad(); }); }
API int st_tensor_grad(TensorImpl* t, TensorImpl** out) { return guarded([&] { *out = give(borrow(t).grad()); }); }
API int st_tensor_set_grad(TensorImpl* t, TensorImpl* grad) {
  return guarded([&] { borrow(t).mutable_grad() = borrow(grad); });
}
API int st_backward(TensorImpl** tensors, int count, TensorImpl** grads, int grad_count, int retain, int create, TensorImpl** inputs, int input_count) {
  return guarded([&] {
    Optional<bool> keep;
    if (retain >= 0) keep = retain != 0;
    torch::autograd::backward(borrow_all(tensors, count), borrow_all(grads, grad_count), keep, create != 0, borrow_all(inputs, input_count));
  });
}
API int st_grad(TensorImpl** outputs, int count, TensorImpl** inputs, int input_count, TensorImpl** grads, int grad_count, int retain, int create, int allow_unused, TensorImpl** results) {
  return guarded([&] {
    Optional<bool> keep;
    if (retain >= 0) keep = retain != 0;
    auto found = torch::autograd::grad(borrow_all(outputs, count), borrow_all(inputs, input_count), borrow_all(grads, grad_count), keep, create != 0, allow_unused != 0);
    for (size_t i = 0; i < found.size(); i++) results[i] = give(std::move(found[i]));
  });
}
API int st_grad_mode() { return at::GradMode::is_enabled(); }
API void st_set_grad_mode(int on) { at::GradMode::set_enabled(on != 0); }
API void* st_inference_mode_enter(int on) { return new c10::InferenceMode(on != 0); }
API void st_inference_mode_leave(void* guard) { delete static_cast<c10::InferenceMode*>(guard); }
API int st_is_inference_mode() { return c10::InferenceMode::is_enabled(); }

/// Makes `outputs`, computed without gradients, depend on `inputs` through a C# backward. Bit 0 of a flag: not
/// differentiable; bit 1: an input changed in place. Takes `context` over only when a node was made (*made = 1).
API int st_function(TensorImpl** inputs, int input_count, TensorImpl** outputs, const int32_t* flags, int output_count, TensorImpl** saved, int saved_count,
                    int materialize, void* context, BackwardCallback backward, ReleaseCallback release, TensorImpl** results, int* made) {
  *made = 0;
  return guarded([&] {
    auto in = borrow_all(inputs, input_count);
    auto out = borrow_all(outputs, output_count);
    bool tracked = at::GradMode::is_enabled() && torch::autograd::any_variable_requires_grad(in);
    std::shared_ptr<ManagedNode> node;
    if (tracked) {
      for (int i = 0; i < output_count; i++)
        if (flags[i] & 2) TORCH_CHECK(!(out[i].is_leaf() && out[i].requires_grad()), "a leaf Variable that requires grad is being used in an in-place operation.");
      auto* raw = new ManagedNode();
      raw->release = [](void*) {}; // the context stays C#'s until nothing can fail any more
      node = std::shared_ptr<ManagedNode>(raw, delete_managed_node);
      node->materialize = materialize != 0;
      node->set_next_edges(torch::autograd::collect_next_edges(in));
    }
    for (int i = 0; i < output_count; i++) {
      bool is_input = false;
      for (auto& v : in) is_input |= v.is_same(out[i]);
      if (is_input && !(flags[i] & 2)) out[i] = out[i].view_as(out[i]).detach();
      if (!tracked || (flags[i] & 1)) {
        if (node) node->add_input_metadata(torch::autograd::Node::undefined_input{});
        continue;
      }
      if (flags[i] & 2) {
        uint32_t nr = node->add_input_metadata(out[i]);
        torch::autograd::impl::rebase_history(out[i], {node, nr});
      } else {
        torch::autograd::set_history(out[i], node);
      }
    }
    if (node) {
      for (int i = 0; i < saved_count; i++) {
        Tensor s = borrow(saved[i]);
        bool is_output = false;
        for (int k = 0; k < output_count; k++) is_output |= s.defined() && outputs[k] == saved[i];
        node->saved.emplace_back(s, is_output);
      }
      node->backward = backward;
      node->context = context;
      node->release = release;
      *made = 1;
    }
    for (int i = 0; i < output_count; i++) results[i] = give(std::move(out[i]));
  });
}
API int st_function_saved(void* node, int index, TensorImpl** out) {
  return guarded([&] {
    auto* self = static_cast<ManagedNode*>(node);
    *out = give(self->saved.at(index).unpack(self->shared_from_this()));
  });
}

// Random state

API at::Generator* st_generator_default(int type, int index) {
  try {
    return new at::Generator(at::globalContext().defaultGenerator(c10::Device(static_cast<c10::DeviceType>(type), static_cast<c10::DeviceIndex>(index))));
  } catch (const std::exception& e) {
    last_error = e.what();
    return nullptr;
  }
}
API at::Generator* st_generator_new(int type, int index, uint64_t seed) {
  auto* base = st_generator_default(type, index);
  if (!base) return nullptr;
  auto* copy = new at::Generator(base->clone());
  delete base;
  copy->set_current_seed(seed);
  return copy;
}
API void st_generator_free(at::Generator* g) { delete g; }
API int st_generator_manual_seed(at::Generator* g, uint64_t seed) {
  return guarded([&] {
    std::lock_guard<std::mutex> lock(g->mutex());
    g->set_current_seed(seed);
  });
}
API uint64_t st_generator_seed(at::Generator* g) {
  std::lock_guard<std::mutex> lock(g->mutex());
  return g->seed();
}
API uint64_t st_generator_initial_seed(at::Generator* g) { return g->current_seed(); }
API int st_generator_get_state(at::Generator* g, TensorImpl** out) { return guarded([&] { *out = give(g->get_state()); }); }
API int st_generator_set_state(at::Generator* g, TensorImpl* state) { return guarded([&] { g->set_state(borrow(state)); }); }
API void st_generator_device(at::Generator* g, int32_t* type, int32_t* index) {
  *type = static_cast<int32_t>(g->device().type());
  *index = g->device().index();
}
API int st_manual_seed(uint64_t seed) { return guarded([&] { at::manual_seed(seed); }); }

// Threads and devices

API int st_get_num_threads() { return at::get_num_threads(); }
API int st_set_num_threads(int n) { return guarded([&] { at::set_num_threads(n); }); }
API int st_get_num_interop_threads() { return at::get_num_interop_threads(); }
API int st_set_num_interop_threads(int n) { return guarded([&] { at::set_num_interop_threads(n); }); }
API int st_cuda_available() { return torch::cuda::is_available(); }
API int st_cudnn_available() { return torch::cuda::cudnn_is_available(); }
API int st_cuda_device_count() { return static_cast<int>(torch::cuda::device_count()); }
API int st_cuda_synchronize(int64_t index) { return guarded([&] { torch::cuda::synchronize(index); }); }
API int st_cuda_manual_seed(uint64_t seed, int all) {
  return guarded([&] { all ? torch::cuda::manual_seed_all(seed) : torch::cuda::manual_seed(seed); });
}
API int st_cuda_allow_tf32() { return at::globalContext().allowTF32CuBLAS(); }
API void st_cuda_set_allow_tf32(int on) { at::globalContext().setAllowTF32CuBLAS(on != 0); }
