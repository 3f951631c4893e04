namespace TorchSharp;

internal static partial class Ops
{
    // What torch's functions call beside the tensors' members.
    internal static readonly Operator
        arange_start_step = new("arange", "start_step"), block_diag = new("block_diag"), broadcast_tensors = new("broadcast_tensors"),
        cartesian_prod = new("cartesian_prod"), cat = new("cat"), complex = new("complex"), einsum = new("einsum"),
        empty_memory_format = new("empty", "memory_format"), eye_m = new("eye", "m"),
        fake_quantize_per_channel_affine = new("fake_quantize_per_channel_affine"),
        fake_quantize_per_tensor_affine_tensor_qparams = new("fake_quantize_per_tensor_affine", "tensor_qparams"), full = new("full"),
        hstack = new("hstack"), linalg_cholesky = new("linalg_cholesky"), linalg_cond = new("linalg_cond"),
        linalg_cond_p_str = new("linalg_cond", "p_str"), linalg_cross = new("linalg_cross"), linalg_det = new("linalg_det"),
        linalg_eig = new("linalg_eig"), linalg_eigh = new("linalg_eigh"), linalg_eigvals = new("linalg_eigvals"),
        linalg_eigvalsh = new("linalg_eigvalsh"), linalg_inv = new("linalg_inv"), linalg_lstsq = new("linalg_lstsq"), linalg_lu = new("linalg_lu"),
        linalg_matrix_exp = new("linalg_matrix_exp"), linalg_matrix_norm = new("linalg_matrix_norm"),
        linalg_matrix_norm_str = new("linalg_matrix_norm", "str_ord"), linalg_matrix_rank = new("linalg_matrix_rank", "atol_rtol_float"),
        linalg_multi_dot = new("linalg_multi_dot"), linalg_norm = new("linalg_norm"), linalg_norm_ord_str = new("linalg_norm", "ord_str"),
        linalg_pinv_atol_rtol_float = new("linalg_pinv", "atol_rtol_float"), linalg_qr = new("linalg_qr"), linalg_slogdet = new("linalg_slogdet"),
        linalg_solve = new("linalg_solve"), linalg_solve_triangular = new("linalg_solve_triangular"), linalg_svd = new("linalg_svd"),
        linalg_svdvals = new("linalg_svdvals"), linalg_vander = new("linalg_vander"), linalg_vector_norm = new("linalg_vector_norm"),
        linspace = new("linspace"), meshgrid_indexing = new("meshgrid", "indexing"), moveaxis_int = new("moveaxis", "int"),
        movedim_int = new("movedim", "int"), normal_Tensor_Tensor = new("normal", "Tensor_Tensor"), ones = new("ones"), orgqr = new("orgqr"),
        qr = new("qr"), quantize_per_channel = new("quantize_per_channel"), quantize_per_tensor = new("quantize_per_tensor"),
        quantized_batch_norm = new("quantized_batch_norm"), quantized_max_pool1d = new("quantized_max_pool1d"),
        quantized_max_pool2d = new("quantized_max_pool2d"), rand_generator = new("rand", "generator"),
        randint_low_generator = new("randint", "low_generator"), randn_generator = new("randn", "generator"),
        randperm_generator = new("randperm", "generator"), searchsorted_Tensor = new("searchsorted", "Tensor"), slogdet = new("slogdet"),
        stack = new("stack"), svd = new("svd"), symeig = new("symeig"), trapz_dx = new("trapz", "dx"), trapz_x = new("trapz", "x"),
        vstack = new("vstack"), where = new("where"), zeros = new("zeros");
}
