import jax
import jax.numpy as jnp


def resize_nearest(x, factor):
    n, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None], (n, h, factor, w, factor, c)).reshape(n, h * factor, w * factor, c)


def resize_bilinear(x, size, *, align_corners=False):
    return jax.image.resize(x, (x.shape[0], *size, x.shape[3]), "bilinear", antialias=False)


bilinear_kernel = upsample_bilinear_fcn = LearnedBilinearUpsample = None
