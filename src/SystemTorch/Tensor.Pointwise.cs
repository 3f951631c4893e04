namespace TorchSharp;

public static partial class torch
{
    public partial class Tensor
    {
        // Functions of one tensor

        public Tensor abs() => Ops.abs.Call(this);
        public Tensor abs_() => Ops.abs_.InPlace(this);
        public Tensor acos() => Ops.acos.Call(this);
        public Tensor acos_() => Ops.acos_.InPlace(this);
        public Tensor acosh() => Ops.acosh.Call(this);
        public Tensor acosh_() => Ops.acosh_.InPlace(this);
        public Tensor asin() => Ops.asin.Call(this);
        public Tensor asin_() => Ops.asin_.InPlace(this);
        public Tensor asinh() => Ops.asinh.Call(this);
        public Tensor asinh_() => Ops.asinh_.InPlace(this);
        public Tensor atan() => Ops.atan.Call(this);
        public Tensor atan_() => Ops.atan_.InPlace(this);
        public Tensor atanh() => Ops.atanh.Call(this);
        public Tensor atanh_() => Ops.atanh_.InPlace(this);
        public Tensor ceil() => Ops.ceil.Call(this);
        public Tensor ceil_() => Ops.ceil_.InPlace(this);
        public Tensor conj_physical() => Ops.conj_physical.Call(this);
        public Tensor conj_physical_() => Ops.conj_physical_.InPlace(this);
        public Tensor cos() => Ops.cos.Call(this);
        public Tensor cos_() => Ops.cos_.InPlace(this);
        public Tensor cosh() => Ops.cosh.Call(this);
        public Tensor cosh_() => Ops.cosh_.InPlace(this);
        public Tensor deg2rad() => Ops.deg2rad.Call(this);
        public Tensor deg2rad_() => Ops.deg2rad_.InPlace(this);
        public Tensor digamma() => Ops.digamma.Call(this);
        public Tensor digamma_() => Ops.digamma_.InPlace(this);
        public Tensor erf() => Ops.erf.Call(this);
        public Tensor erf_() => Ops.erf_.InPlace(this);
        public Tensor erfc() => Ops.erfc.Call(this);
        public Tensor erfc_() => Ops.erfc_.InPlace(this);
        public Tensor erfinv() => Ops.erfinv.Call(this);
        public Tensor erfinv_() => Ops.erfinv_.InPlace(this);
        public Tensor exp() => Ops.exp.Call(this);
        public Tensor exp_() => Ops.exp_.InPlace(this);
        public Tensor exp2() => Ops.exp2.Call(this);
        public Tensor exp2_() => Ops.exp2_.InPlace(this);
        public Tensor expm1() => Ops.expm1.Call(this);
        public Tensor expm1_() => Ops.expm1_.InPlace(this);
        public Tensor floor() => Ops.floor.Call(this);
        public Tensor floor_() => Ops.floor_.InPlace(this);
        public Tensor frac() => Ops.frac.Call(this);
        public Tensor frac_() => Ops.frac_.InPlace(this);
        public Tensor i0() => Ops.i0.Call(this);
        public Tensor i0_() => Ops.i0_.InPlace(this);
        public Tensor lgamma() => Ops.lgamma.Call(this);
        public Tensor lgamma_() => Ops.lgamma_.InPlace(this);
        public Tensor log() => Ops.log.Call(this);
        public Tensor log_() => Ops.log_.InPlace(this);
        public Tensor log10() => Ops.log10.Call(this);
        public Tensor log10_() => Ops.log10_.InPlace(this);
        public Tensor log1p() => Ops.log1p.Call(this);
        public Tensor log1p_() => Ops.log1p_.InPlace(this);
        public Tensor log2() => Ops.log2.Call(this);
        public Tensor log2_() => Ops.log2_.InPlace(this);
        public Tensor logical_not() => Ops.logical_not.Call(this);
        public Tensor logical_not_() => Ops.logical_not_.InPlace(this);
        public Tensor neg() => Ops.neg.Call(this);
        public Tensor neg_() => Ops.neg_.InPlace(this);
        public Tensor rad2deg() => Ops.rad2deg.Call(this);
        public Tensor rad2deg_() => Ops.rad2deg_.InPlace(this);
        public Tensor reciprocal() => Ops.reciprocal.Call(this);
        public Tensor reciprocal_() => Ops.reciprocal_.InPlace(this);
        public Tensor rsqrt() => Ops.rsqrt.Call(this);
        public Tensor rsqrt_() => Ops.rsqrt_.InPlace(this);
        public Tensor sgn() => Ops.sgn.Call(this);
        public Tensor sgn_() => Ops.sgn_.InPlace(this);
        public Tensor sigmoid() => Ops.sigmoid.Call(this);
        public Tensor sigmoid_() => Ops.sigmoid_.InPlace(this);
        public Tensor sign() => Ops.sign.Call(this);
        public Tensor sign_() => Ops.sign_.InPlace(this);
        public Tensor sin() => Ops.sin.Call(this);
        public Tensor sin_() => Ops.sin_.InPlace(this);
        public Tensor sinc() => Ops.sinc.Call(this);
        public Tensor sinc_() => Ops.sinc_.InPlace(this);
        public Tensor sinh() => Ops.sinh.Call(this);
        public Tensor sinh_() => Ops.sinh_.InPlace(this);
        public Tensor sqrt() => Ops.sqrt.Call(this);
        public Tensor sqrt_() => Ops.sqrt_.InPlace(this);
        public Tensor tan() => Ops.tan.Call(this);
        public Tensor tan_() => Ops.tan_.InPlace(this);
        public Tensor tanh() => Ops.tanh.Call(this);
        public Tensor tanh_() => Ops.tanh_.InPlace(this);
        public Tensor trunc() => Ops.trunc.Call(this);
        public Tensor trunc_() => Ops.trunc_.InPlace(this);
        public Tensor bitwise_not() => Ops.bitwise_not.Call(this);
        public Tensor bitwise_not_() => Ops.bitwise_not_.InPlace(this);
        public Tensor positive() => Ops.positive.Call(this);
        public Tensor square() => Ops.square.Call(this);
        public Tensor signbit() => Ops.signbit.Call(this);
        public Tensor isfinite() => Ops.isfinite.Call(this);
        public Tensor isinf() => Ops.isinf.Call(this);
        public Tensor isnan() => Ops.isnan.Call(this);
        public Tensor isneginf() => Ops.isneginf.Call(this);
        public Tensor isposinf() => Ops.isposinf.Call(this);
        public Tensor isreal() => Ops.isreal.Call(this);
        public Tensor resolve_conj() => Ops.resolve_conj.Call(this);
        public Tensor resolve_neg() => Ops.resolve_neg.Call(this);
        public Tensor absolute() => abs();
        public Tensor absolute_() => abs_();
        public Tensor arccos() => acos();
        public Tensor arccos_() => acos_();
        public Tensor arccosh() => acosh();
        public Tensor arccosh_() => acosh_();
        public Tensor arcsin() => asin();
        public Tensor arcsin_() => asin_();
        public Tensor arcsinh() => asinh();
        public Tensor arcsinh_() => asinh_();
        public Tensor arctan() => atan();
        public Tensor arctan_() => atan_();
        public Tensor arctanh() => atanh();
        public Tensor arctanh_() => atanh_();
        public Tensor fix() => trunc();
        public Tensor fix_() => trunc_();
        public Tensor negative() => neg();
        public Tensor round(long decimals = 0) => decimals == 0 ? Ops.round.Call(this) : Ops.round_decimals.Call(this, decimals);

        public Tensor round_(long decimals = 0)
        {
            if (decimals == 0) Ops.round_.Run(this);
            else Ops.round__decimals.Run(this, decimals);
            return this;
        }

        public Tensor polygamma(long p) => Ops.polygamma.Call(p, this);
        public Tensor polygamma_(long p) => Ops.polygamma_.InPlace(this, p);
        public Tensor mvlgamma(long p) => Ops.mvlgamma.Call(this, p);
        public Tensor mvlgamma_(long p) => Ops.mvlgamma_.InPlace(this, p);
        public Tensor logit(double? eps = null) => Ops.logit.Call(this, eps);
        public Tensor logit_(double? eps = null) => Ops.logit_.InPlace(this, eps);
        public Tensor nan_to_num(double nan = 0, double? posinf = null, double? neginf = null) => Ops.nan_to_num.Call(this, nan, posinf, neginf);
        public Tensor nan_to_num_(double nan = 0, double? posinf = null, double? neginf = null) => Ops.nan_to_num_.InPlace(this, nan, posinf, neginf);

        public (Tensor Mantissa, Tensor Exponent) frexp() => Ops.frexp_Tensor.Call2(this);

        // Bounds

        public Tensor clamp(Scalar? min = null, Scalar? max = null) => Ops.clamp.Call(this, min, max);
        public Tensor clamp(Tensor? min = null, Tensor? max = null) => Ops.clamp_Tensor.Call(this, min, max);
        public Tensor clamp_(Scalar? min = null, Scalar? max = null) => Ops.clamp_.InPlace(this, min, max);
        public Tensor clamp_(Tensor? min = null, Tensor? max = null) => Ops.clamp__Tensor.InPlace(this, min, max);
        public Tensor clip(Scalar? min = null, Scalar? max = null) => clamp(min, max);
        public Tensor clamp_max(Scalar max) => Ops.clamp_max.Call(this, max);
        public Tensor clamp_max_(Scalar max) => Ops.clamp_max_.InPlace(this, max);
        public Tensor clamp_min(Scalar min) => Ops.clamp_min.Call(this, min);
        public Tensor clamp_min_(Scalar min) => Ops.clamp_min_.InPlace(this, min);

        // Comparisons

        public Tensor eq(Scalar target) => Ops.eq_Scalar.Call(this, target);
        public Tensor eq(Tensor target) => Ops.eq_Tensor.Call(this, target);
        public Tensor eq_(Scalar target) => Ops.eq__Scalar.InPlace(this, target);
        public Tensor eq_(Tensor target) => Ops.eq__Tensor.InPlace(this, target);
        public Tensor ne(Scalar target) => Ops.ne_Scalar.Call(this, target);
        public Tensor ne(Tensor target) => Ops.ne_Tensor.Call(this, target);
        public Tensor ne_(Scalar target) => Ops.ne__Scalar.InPlace(this, target);
        public Tensor ne_(Tensor target) => Ops.ne__Tensor.InPlace(this, target);
        public Tensor lt(Scalar target) => Ops.lt_Scalar.Call(this, target);
        public Tensor lt(Tensor target) => Ops.lt_Tensor.Call(this, target);
        public Tensor lt_(Scalar target) => Ops.lt__Scalar.InPlace(this, target);
        public Tensor lt_(Tensor target) => Ops.lt__Tensor.InPlace(this, target);
        public Tensor le(Scalar target) => Ops.le_Scalar.Call(this, target);
        public Tensor le(Tensor target) => Ops.le_Tensor.Call(this, target);
        public Tensor le_(Scalar target) => Ops.le__Scalar.InPlace(this, target);
        public Tensor le_(Tensor target) => Ops.le__Tensor.InPlace(this, target);
        public Tensor gt(Scalar target) => Ops.gt_Scalar.Call(this, target);
        public Tensor gt(Tensor target) => Ops.gt_Tensor.Call(this, target);
        public Tensor gt_(Scalar target) => Ops.gt__Scalar.InPlace(this, target);
        public Tensor gt_(Tensor target) => Ops.gt__Tensor.InPlace(this, target);
        public Tensor ge(Scalar target) => Ops.ge_Scalar.Call(this, target);
        public Tensor ge(Tensor target) => Ops.ge_Tensor.Call(this, target);
        public Tensor ge_(Scalar target) => Ops.ge__Scalar.InPlace(this, target);
        public Tensor ge_(Tensor target) => Ops.ge__Tensor.InPlace(this, target);

        /// <summary>Element by element, as <see cref="eq(Tensor)"/>; <see cref="Equals(Tensor)"/> compares the whole.</summary>
        public Tensor equal(Tensor target) => eq(target);
        public Tensor not_equal(Tensor target) => ne(target);
        public Tensor not_equal_(Tensor target) => ne_(target);
        public Tensor less(Tensor target) => lt(target);
        public Tensor less_equal(Tensor target) => le(target);
        public Tensor less_equal_(Tensor target) => le_(target);
        public Tensor greater(Tensor target) => gt(target);
        public Tensor greater_equal(Tensor target) => ge(target);

        public Tensor isclose(Tensor other, double rtol = 1E-05, double atol = 1E-08, bool nanEqual = false) => Ops.isclose.Call(this, other, rtol, atol, nanEqual);
        public bool allclose(Tensor target, double rtol = 1E-05, double atol = 1E-08, bool equal_nan = false) => Ops.allclose.CallBool(this, target, rtol, atol, equal_nan);
        public Tensor isin(Tensor test_elements, bool assumeUnique = false, bool invert = false) => Ops.isin_Tensor_Tensor.Call(this, test_elements, assumeUnique, invert);
        public bool is_nonzero() => Ops.is_nonzero.CallBool(this);

        // Logic and bits

        public Tensor logical_and(Tensor other) => Ops.logical_and.Call(this, other);
        public Tensor logical_and_(Tensor other) => Ops.logical_and_.InPlace(this, other);
        public Tensor logical_or(Tensor other) => Ops.logical_or.Call(this, other);
        public Tensor logical_or_(Tensor other) => Ops.logical_or_.InPlace(this, other);
        public Tensor logical_xor(Tensor other) => Ops.logical_xor.Call(this, other);
        public Tensor logical_xor_(Tensor other) => Ops.logical_xor_.InPlace(this, other);
        public Tensor bitwise_and(Tensor other) => Ops.bitwise_and_Tensor.Call(this, other);
        public Tensor bitwise_and_(Tensor other) => Ops.bitwise_and__Tensor.InPlace(this, other);
        public Tensor bitwise_or(Tensor other) => Ops.bitwise_or_Tensor.Call(this, other);
        public Tensor bitwise_or_(Tensor other) => Ops.bitwise_or__Tensor.InPlace(this, other);
        public Tensor bitwise_xor(Tensor other) => Ops.bitwise_xor_Tensor.Call(this, other);
        public Tensor bitwise_xor_(Tensor other) => Ops.bitwise_xor__Tensor.InPlace(this, other);
        public Tensor bitwise_left_shift(Tensor other) => Ops.bitwise_left_shift_Tensor.Call(this, other);
        public Tensor bitwise_left_shift_(Tensor other) => Ops.bitwise_left_shift__Tensor.InPlace(this, other);
        public Tensor bitwise_right_shift(Tensor other) => Ops.bitwise_right_shift_Tensor.Call(this, other);
        public Tensor bitwise_right_shift_(Tensor other) => Ops.bitwise_right_shift__Tensor.InPlace(this, other);

        // Activations

        public Tensor celu() => Ops.celu.Call(this);
        public Tensor celu_() => Ops.celu_.InPlace(this);
        public Tensor hardsigmoid() => Ops.hardsigmoid.Call(this);
        public Tensor hardsigmoid_() => Ops.hardsigmoid_.InPlace(this);
        public Tensor hardswish() => Ops.hardswish.Call(this);
        public Tensor hardswish_() => Ops.hardswish_.InPlace(this);
        public Tensor relu() => Ops.relu.Call(this);
        public Tensor relu_() => Ops.relu_.InPlace(this);
        public Tensor relu6() => Ops.relu6.Call(this);
        public Tensor relu6_() => Ops.relu6_.InPlace(this);
        public Tensor selu() => Ops.selu.Call(this);
        public Tensor selu_() => Ops.selu_.InPlace(this);
        public Tensor silu() => Ops.silu.Call(this);
        public Tensor silu_() => Ops.silu_.InPlace(this);
        public Tensor log_sigmoid() => Ops.log_sigmoid.Call(this);
        public Tensor celu(Scalar alpha) => Ops.celu.Call(this, alpha);
        public Tensor celu_(Scalar alpha) => Ops.celu_.InPlace(this, alpha);
        public Tensor elu(double alpha = 1) => Ops.elu.Call(this, alpha);
        public Tensor elu(Scalar alpha, Scalar scale, Scalar input_scale) => Ops.elu.Call(this, alpha, scale, input_scale);
        public Tensor elu_(double alpha = 1) => Ops.elu_.InPlace(this, alpha);
        public Tensor elu_(Scalar alpha, Scalar scale, Scalar input_scale) => Ops.elu_.InPlace(this, alpha, scale, input_scale);
        public Tensor gelu() => Ops.gelu.Call(this);
        public Tensor gelu_() => Ops.gelu_.InPlace(this);
        public Tensor glu(long dim = -1) => Ops.glu.Call(this, dim);
        public Tensor hardtanh(Scalar min, Scalar max) => Ops.hardtanh.Call(this, min, max);
        public Tensor hardtanh_(Scalar min, Scalar max) => Ops.hardtanh_.InPlace(this, min, max);
        public Tensor leaky_relu(Scalar negative_slope) => Ops.leaky_relu.Call(this, negative_slope);
        public Tensor leaky_relu_(Scalar negative_slope) => Ops.leaky_relu_.InPlace(this, negative_slope);
        public Tensor prelu(Tensor target) => Ops.prelu.Call(this, target);
        public Tensor softplus(double beta = 1, double threshold = 20) => Ops.softplus.Call(this, beta, threshold);
        public Tensor threshold(Scalar threshold, Scalar value) => Ops.threshold.Call(this, threshold, value);
        public Tensor threshold_(Scalar threshold, Scalar value) => Ops.threshold_.InPlace(this, threshold, value);
        public Tensor softmax(long dim, ScalarType? dtype = null) => Ops.softmax_int.Call(this, dim, dtype);
        public Tensor log_softmax(long dim, ScalarType? dtype = null) => Ops.log_softmax_int.Call(this, dim, dtype);
    }
}
